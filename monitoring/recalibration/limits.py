"""How far a process may recalibrate by itself, counted from the last version that a person
published.
"""

from dataclasses import dataclass

import numpy as np

from calibration.bins import FloatArray
from model_store.bundle.card import CalibrationCard, Card
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
        """Return a sentence that says how the change from `start` to `end` exceeds the limits; None
        if it does not.

        >>> card = CalibrationCard.model_construct(temperature=1.0, class_bias=None, class_weight=None)
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
            return (
                f"It changes the bias of a class by {bias:.2f} nats; the limit is {self.bias:.2f}."
            )
        return None


def last_by_person(store: Store, card: Card) -> Card:
    """Return the nearest ancestor of a version that no process made because of an alarm; `card`
    itself if it is one.

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
