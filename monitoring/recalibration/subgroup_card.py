"""The calibrators of subgroups in the card of the next version.

A fit on served answers continues whatever calibrated them. So the calibrator of a subgroup is
appended to those in the card, or composed with the last one if that is of the same subgroup. A
remedy for all answers changes the graph before them, and they are moved so that every answer goes
through what it went through, and then the remedy.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.calibrators.affine import Affine
from calibration.diagnosis.facts import AnswerGroup
from calibration.measures.summary import Measures
from calibration.wording import counted, percent
from model_store.bundle.calibration_card import CalibrationCard, SubgroupCalibration
from model_store.bundle.card import Card
from monitoring.drift.tag_settings import slice_of, tag_of
from monitoring.recalibration.promises import referral_for, sets_for
from monitoring.recalibration.proposal import Proposal
from monitoring.recalibration.subgroup import belongs

Bias = Sequence[float] | None


def with_subgroup(card: Card, proposal: Proposal) -> tuple[CalibrationCard, list[str]]:
    """Return the card's calibration with the remedy for `proposal.group`, and what is dropped."""
    group, known = proposal.group, card.calibration.subgroups or ()
    assert group is not None
    old = calibrator_of(card, group)
    if known and known[-1] is old:
        known = known[:-1]
    temperature, bias = composed(old.temperature, old.class_bias, proposal.affine)
    entry = SubgroupCalibration(
        key=tag_of(group.key),
        values=group.values,
        temperature=temperature,
        class_bias=bias,
        labels=proposal.fitted_on,
        held_out=proposal.held_out,
        before=proposal.before.as_dict(),
        after=proposal.after.as_dict(),
        referral=referral_for(card.referral, proposal.probabilities, proposal.true_classes),
        conformal=sets_for(card.conformal, proposal.probabilities, proposal.true_classes),
    )
    subgroups = (*known, entry)
    return card.calibration.model_copy(update={"subgroups": subgroups}), _dropped(card, entry)


def calibrator_of(card: Card, group: AnswerGroup | None) -> CalibrationCard | SubgroupCalibration:
    """Return the card's calibrator, or a subgroup's last one; without one, one of no effect."""
    if group is None:
        return card.calibration
    last = (card.calibration.subgroups or (None,))[-1]
    if last is not None and _group_of(last) == group:
        return last
    return SubgroupCalibration.model_construct(temperature=1.0, class_bias=None)


def recalibrated(card: Card) -> AnswerGroup | None:
    """Return the subgroup of the card's last calibrator."""
    known = card.calibration.subgroups
    return _group_of(known[-1]) if known else None


def continued_subgroups(
    card: Card, proposal: Proposal
) -> tuple[tuple[SubgroupCalibration, ...] | None, list[str]]:
    """Return the subgroups' calibrators after a remedy for all, and what is dropped.

    Their promises and measures are those of the subgroup's held-out answers.
    """
    known = card.calibration.subgroups
    if known is None:
        return None, []
    moved = tuple(_continued(each, card, proposal) for each in known)
    return moved, [sentence for each in moved for sentence in _dropped(card, each)]


def composed(
    temperature: float, class_bias: Bias, affine: Affine
) -> tuple[float, tuple[float, ...] | None]:
    """Return division by the temperature and addition of the bias, then `affine`, as one such map.

    The weights of `affine` are equal.

    >>> composed(2.0, (1.0, -1.0), Affine((0.5, 0.5), (0.25, -0.25)))
    (4.0, (0.75, -0.75))
    """
    weight = affine.weight[0]
    return temperature / weight, _bias(weight * np.array(class_bias or 0.0) + np.array(affine.bias))


def conjugated(temperature: float, class_bias: Bias, affine: Affine) -> tuple[float, ...] | None:
    """Return the bias c' for which z -> w z + b, then z / T + c', is z / T + c, then w z + b.

    The temperature stays. The weights of `affine` are equal: w; its bias is b.

    >>> conjugated(2.0, None, Affine((0.5, 0.5), (1.0, -1.0)))
    (0.5, -0.5)
    """
    weight, bias = affine.weight[0], np.array(affine.bias)
    return _bias(weight * np.array(class_bias or 0.0) + bias - bias / temperature)


def _bias(values: npt.NDArray[np.float64]) -> tuple[float, ...] | None:
    return tuple(values.tolist()) if values.any() else None


def _group_of(entry: SubgroupCalibration) -> AnswerGroup:
    return AnswerGroup(slice_of(entry.key), entry.values)


def _continued(entry: SubgroupCalibration, card: Card, proposal: Proposal) -> SubgroupCalibration:
    inside = np.array([belongs(each, _group_of(entry)) for each in proposal.tags], dtype=bool)
    after, labels = proposal.probabilities[inside], proposal.true_classes[inside]
    changes: dict[str, Any] = {
        "class_bias": conjugated(entry.temperature, entry.class_bias, proposal.affine),
        "referral": referral_for(card.referral, after, labels),
        "conformal": sets_for(card.conformal, after, labels),
    }
    if len(labels):
        before = Measures.from_probabilities(proposal.served[inside], labels)
        changes |= {
            "before": before.as_dict(),
            "after": Measures.from_probabilities(after, labels).as_dict(),
            "held_out": len(labels),
        }
    return entry.model_copy(update=changes)


def _dropped(card: Card, entry: SubgroupCalibration) -> list[str]:
    """Return which promises of the card the subgroup has only in words."""
    dropped = []
    if card.referral and entry.referral is None:
        dropped.append(
            f"On {counted(entry.held_out, 'held-out label')} with {entry.title} no threshold can "
            f"promise an accuracy of {percent(card.referral.promised_accuracy)}, so every answer "
            "of this subgroup is referred."
        )
    if card.conformal and not (entry.conformal and entry.conformal.threshold):
        dropped.append(
            f"{counted(entry.held_out, 'held-out label')} with {entry.title} are too few for "
            f"prediction sets that contain the true class in {percent(1 - card.conformal.alpha)} "
            "of answers, so each set of this subgroup contains every class."
        )
    return dropped
