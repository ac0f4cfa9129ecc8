"""What a process may do about a drift alarm without a person, and how far a change may go."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from calibration.bins import FloatArray
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from model_store.store.store import Store


@dataclass(frozen=True)
class RecalibrationLimits:
    """The largest change that is made without a person.

    Attributes:
        factor: by which a temperature, or a class's share of it, may rise or fall; at least 1.
        bias: by which the bias of a class may change, in nats.
    """

    factor: float = 2.0
    bias: float = 1.0

    def excess(self, start: CalibrationCard, end: CalibrationCard) -> str | None:
        """Say how the change from `start` to `end` exceeds the limits; None if it does not.

        >>> same = {"class_bias": None, "class_weight": None}
        >>> card = CalibrationCard.model_construct(temperature=1.0, **same)
        >>> RecalibrationLimits().excess(card, card.model_copy(update={"temperature": 3.0}))
        'It changes the temperature by a factor of 3.00; the limit is 2.00.'
        """
        ratio = np.abs(np.log(_scale(end) / _scale(start)))
        factor, bias = float(np.exp(np.max(ratio))), float(np.abs(_bias(end) - _bias(start)).max())
        if factor > self.factor:
            return (
                f"It changes the temperature by a factor of {factor:.2f}; the limit is "
                f"{self.factor:.2f}."
            )
        if bias > self.bias:
            return f"It changes a bias by {bias:.2f} nats; the limit is {self.bias:.2f}."
        return None


@dataclass(frozen=True)
class AlarmPolicy:
    """What may be done without a person.

    Attributes:
        action: how far it goes.
        interval_s: least time between two attempts for a model.
        min_labels: fewest labels since the drift began, and fewest new ones since the last attempt.
        label_changes: whether remedies are considered that may change the predicted class.
        limits: the largest change.
    """

    action: Literal["propose", "publish", "promote"]
    interval_s: float = 86_400.0
    min_labels: int = 100
    label_changes: bool = False
    limits: RecalibrationLimits = field(default_factory=RecalibrationLimits)


def last_by_person(store: Store, card: Card) -> Card:
    """Return the nearest ancestor that no process made because of an alarm, or `card`.

    A chain that is no longer in the store ends at its oldest version.
    """
    while (
        card.provenance.recalibrated_by == "alarm"
        and card.provenance.parent_version in store.versions(card.name)
    ):
        card = store.read(card.name, card.provenance.parent_version).card
    return card


def _scale(calibration: CalibrationCard) -> FloatArray:
    """Return by what logits are multiplied, one factor for all classes or one each."""
    return np.atleast_1d(np.array(calibration.class_weight or 1.0)) / calibration.temperature


def _bias(calibration: CalibrationCard) -> FloatArray:
    return np.atleast_1d(np.array(calibration.class_bias or 0.0, dtype=np.float64))
