"""The next version of a model: the parent's graph with another calibrator, and a card that says how it was fitted."""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from calibration.bins import BinSums
from calibration.conformal import conformal
from calibration.confusion import confusion_matrix
from calibration.measures import Measures
from calibration.metrics import top_label
from calibration.threshold import referral_threshold
from model_store.bundle import Bundle, write_bundle
from model_store.card import CalibrationCard, Card, ConformalCard, Referral
from model_store.graph import with_calibrator
from model_store.store import Store
from monitoring.findings.phrases import percent
from monitoring.ledger.database import Ledger
from monitoring.recalibration.answers import AnswerFilter, labeled_answers
from monitoring.recalibration.proposal import Proposal, propose
from monitoring.recalibration.representative import find_uneven_labels


@dataclass(frozen=True)
class Recalibration:
    """A proposal with its card, published or only previewed.

    Attributes:
        card: of the next version; in a preview it still has the parent's version number.
        parent_version: the version that served the labeled answers.
        proposal: the remedy and what it does.
        dropped: promises of the parent's card that the new one cannot make, each a sentence.
    """

    card: Card
    parent_version: int
    old_temperature: float
    proposal: Proposal
    dropped: tuple[str, ...]

    @property
    def new_temperature(self) -> float:
        """The temperature in the new graph."""
        return self.card.calibration.temperature

    @property
    def labels(self) -> int:
        """How many labels were used, to fit or to measure."""
        return self.proposal.labels

    @property
    def before(self) -> Measures:
        """Measures of the held-out answers as served."""
        return self.proposal.before

    @property
    def after(self) -> Measures:
        """Measures of the held-out answers after the remedy."""
        return self.proposal.after

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        proposal = self.proposal
        return {
            "card": self.card.model_dump(mode="json"),
            "parent_version": self.parent_version,
            "labels": self.labels,
            "fitted_on": proposal.fitted_on,
            "held_out": proposal.held_out,
            "audited": proposal.audited,
            "remedy": proposal.remedy,
            "choice": dataclasses.asdict(proposal.choice),
            "old_temperature": self.old_temperature,
            "new_temperature": self.new_temperature,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "changed": proposal.changed,
            "classes": [dataclasses.asdict(each) for each in proposal.classes],
            "dropped": list(self.dropped),
        }


def recalibrate(
    ledger: Ledger,
    store: Store,
    model: str,
    *,
    version: int | None = None,
    answer_filter: AnswerFilter | None = None,
    min_labels: int = 100,
    allow_label_changes: bool = False,
    chosen_labels: bool = False,
    publish: bool = True,
) -> Recalibration:
    """Choose a remedy on the labeled answers of a version (default: production) and publish the next version.

    Args:
        allow_label_changes: consider remedies that may change the predicted class.
        chosen_labels: accept labels that look chosen rather than drawn.
        publish: False for a preview. Nothing is promoted either way.

    Raises RecalibrationRefused if the version never served with this ledger or `propose` refuses, and the store's
    errors for a bundle that is missing or damaged.
    """
    parent = store.read(model, version)
    chosen = answer_filter or AnswerFilter()
    with ledger.read() as connection:
        answers = labeled_answers(connection, parent.card, chosen, min_labels=min_labels)
        uneven = None
        if not chosen_labels and chosen.prediction_ids is None:
            uneven = find_uneven_labels(
                connection,
                answers.calibration_id,
                since_ns=answers.served_since_ns if chosen != AnswerFilter() else None,
            )
    proposal = propose(
        answers, parent.card, min_labels=min_labels, uneven=uneven, allow_label_changes=allow_label_changes
    )
    card, dropped = _next_card(parent.card, proposal)
    if publish:
        number = store.publish(model, lambda folder, number: _build(folder, number, parent, card))
        card = store.read(model, number).card
    return Recalibration(card, parent.card.version, parent.card.calibration.temperature, proposal, dropped)


def _next_card(card: Card, proposal: Proposal) -> tuple[Card, tuple[str, ...]]:
    """Return the parent's card with the new calibrator, reference and promises, and the promises that are dropped."""
    confidence, predicted = top_label(proposal.probabilities)
    correct = predicted == proposal.true_classes
    temperature, class_bias, class_weight = _continued(card.calibration, proposal)
    calibration = CalibrationCard.from_reference(
        # A temperature from perturbed images is replaced by one from labels; the vector stays in the graph.
        method="vector" if card.calibration.method == "vector" else "temperature",
        temperature=temperature,
        class_bias=class_bias,
        class_weight=class_weight,
        split=f"ledger: {proposal.held_out} held out of {proposal.labels} labeled answers of version {card.version}",
        sums=BinSums.from_predictions(confidence, correct),
        measures=proposal.after,
        confusion=confusion_matrix(proposal.probabilities, proposal.true_classes),
    )
    referral = _referral(card.referral, proposal)
    sets = card.conformal and conformal(proposal.probabilities, proposal.true_classes, alpha=card.conformal.alpha)
    changes: dict[str, Any] = {
        "calibration": calibration,
        "provenance": card.provenance.model_copy(
            update={"parent_version": card.version, "created_at": datetime.now(UTC)}
        ),
        "referral": referral,
        "conformal": sets and ConformalCard.from_sets(sets),
        "files": {},
    }
    dropped: tuple[str, ...] = ()
    if card.referral and referral is None:
        dropped = (
            f"Version {card.version} promised an accuracy of {percent(card.referral.promised_accuracy)} above its "
            f"referral threshold. No threshold can promise that on the {proposal.held_out} held-out labels, so the new "
            "version refers no answer.",
        )
    return card.model_copy(update=changes), dropped


def _continued(
    calibration: CalibrationCard, proposal: Proposal
) -> tuple[float, tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return temperature, class bias and class weight of the parent's calibrator followed by the remedy."""
    weight, bias = np.array(proposal.affine.weight), np.array(proposal.affine.bias)
    temperature, old_weight = calibration.temperature, calibration.class_weight
    new_bias = bias if calibration.class_bias is None else weight * np.array(calibration.class_bias) + bias
    if old_weight is not None:
        new_weight: tuple[float, ...] | None = tuple((weight * np.array(old_weight)).tolist())
    elif np.ptp(weight) <= 1e-9 * weight[0]:
        temperature, new_weight = temperature / float(weight[0]), None
    else:
        new_weight = tuple(weight.tolist())
    has_bias = new_weight is not None or bool(new_bias.any())
    return temperature, tuple(new_bias.tolist()) if has_bias else None, new_weight


def _referral(old: Referral | None, proposal: Proposal) -> Referral | None:
    """Return the threshold that now keeps the old promise; None if there was no promise or no threshold keeps it."""
    if old is None:
        return None
    confidence, predicted = top_label(proposal.probabilities)
    found = referral_threshold(
        confidence, predicted == proposal.true_classes, promised_accuracy=old.promised_accuracy, delta=old.delta
    )
    if found is None:
        return None
    return Referral(
        threshold=found.confidence,
        promised_accuracy=found.promised_accuracy,
        delta=found.delta,
        coverage=found.coverage,
    )


def _build(folder: Path, version: int, parent: Bundle, draft: Card) -> None:
    card, calibration = draft.model_copy(update={"version": version}), draft.calibration
    graph = with_calibrator(
        parent.onnx,
        temperature=calibration.temperature,
        class_bias=calibration.class_bias,
        class_weight=calibration.class_weight,
    )
    write_bundle(folder, card=card, onnx=graph)
