"""The card of the next version: the remedy's calibrator, a new reference, and the promises that
still hold.

Referral threshold and prediction sets are fitted on the held-out labels, which the calibrator has
not seen, so that their promises hold. What the parent's card promised and this one cannot is said
in a sentence. Calibrators of subgroups: `subgroup_card.py`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from calibration.bins import BinSums
from calibration.measures.confusion import confusion_matrix
from calibration.measures.metrics import top_label
from calibration.wording import counted, percent
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Referral
from model_store.bundle.card import Card
from monitoring.recalibration.finding import next_answer
from monitoring.recalibration.promises import referral_for, sets_for
from monitoring.recalibration.proposal import Proposal
from monitoring.recalibration.subgroup_card import continued_subgroups, with_subgroup


def next_card(
    card: Card,
    proposal: Proposal,
    *,
    recalibrated_by: Literal["person", "alarm"],
) -> tuple[Card, tuple[str, ...]]:
    """Return the card with new calibrator, reference and promises; and what is dropped."""
    changes, dropped = next_answer(card, proposal, _of_classes)
    made = {
        "parent_version": card.version,
        "recalibrated_by": recalibrated_by,
        "created_at": datetime.now(UTC),
    }
    changes |= {
        "provenance": card.provenance.model_copy(update=made),
        "dropped_promises": (*(card.dropped_promises or ()), *dropped) or None,
        "files": {},
    }
    return card.model_copy(update=changes), tuple(dropped)


def _of_classes(card: Card, proposal: Proposal) -> tuple[dict[str, Any], list[str]]:
    if proposal.group is None:
        return _for_all(card, proposal)
    calibration, dropped = with_subgroup(card, proposal)
    return {"calibration": calibration}, dropped


def _for_all(card: Card, proposal: Proposal) -> tuple[dict[str, Any], list[str]]:
    """Return what a remedy for all answers changes of the card, and what is dropped."""
    p, labels = proposal.probabilities, proposal.true_classes
    confidence, predicted = top_label(p)
    temperature, class_bias = _continued(card.calibration, proposal)
    calibration = CalibrationCard.from_reference(
        # What comes before the temperature stays in the graph.
        method=card.calibration.method,
        temperature=temperature,
        class_bias=class_bias,
        class_weight=card.calibration.class_weight,
        split=f"ledger: {proposal.held_out} held out of {proposal.labels} labeled answers of "
        f"version {card.version}",
        sums=BinSums.from_predictions(confidence, predicted == labels),
        measures=proposal.after,
        confusion=confusion_matrix(p, labels),
    )
    referral, sets = referral_for(card.referral, p, labels), sets_for(card.conformal, p, labels)
    subgroups, dropped = continued_subgroups(card, proposal)
    changes = {
        "calibration": calibration.model_copy(update={"subgroups": subgroups}),
        "referral": referral,
        "conformal": sets,
        "verification": None,
    }
    return changes, [*_dropped(card, proposal, referral, sets), *dropped]


def _dropped(
    card: Card, proposal: Proposal, referral: Referral | None, sets: ConformalCard | None
) -> Iterator[str]:
    """Yield what the parent promised and the new version does not, or only in words."""
    if card.referral and referral is None:
        yield (
            f"Version {card.version} promised an accuracy of "
            f"{percent(card.referral.promised_accuracy)} above its referral threshold. No "
            f"threshold can promise that on the {proposal.held_out} held-out labels, so the new "
            "version refers no answer."
        )
    if sets and not sets.threshold:
        yield (
            f"{counted(proposal.held_out, 'held-out label')} are too few for prediction sets that "
            f"contain the true class in {percent(1 - sets.alpha)} of answers, so each set of the "
            "new version contains every class."
        )


def _continued(
    calibration: CalibrationCard, proposal: Proposal
) -> tuple[float, tuple[float, ...] | None]:
    """Return temperature and class bias of the parent's calibrator, then the remedy."""
    weight, bias = proposal.affine.weight[0], np.array(proposal.affine.bias)
    if calibration.class_bias is not None:
        bias = weight * np.array(calibration.class_bias) + bias
    has_bias = calibration.class_weight is not None or bool(bias.any())
    return calibration.temperature / weight, tuple(bias.tolist()) if has_bias else None
