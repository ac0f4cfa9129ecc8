"""Recalibration: fit a new temperature on the ledger's labeled answers and publish it as the model's next version.

The ledger holds whole probability vectors. Their logarithms are logits / T up to one constant per row, so a temperature
fitted on them multiplies the one in the graph. The network stays as it is: confidence changes, labels do not.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select

from calibration.bins import BinSums
from calibration.conformal import conformal
from calibration.measures import Measures
from calibration.metrics import top_label
from calibration.temperature import apply_temperature, fit_temperature
from calibration.threshold import referral_threshold
from model_store.bundle import Bundle, write_bundle
from model_store.card import CalibrationCard, Card, ConformalCard, Referral
from model_store.graph import with_temperature
from model_store.store import Store
from monitoring.errors import RecalibrationRefused
from monitoring.findings.phrases import counted
from monitoring.ledger.calibrations import card_sha256, of_model
from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import label_current, prediction

_SMALLEST = float(np.finfo(np.float32).tiny)  # keeps the logarithm of a probability that underflowed finite


@dataclass(frozen=True)
class AnswerFilter:
    """The labeled answers to fit on: those that meet every condition, by default all.

    Attributes:
        since_ns: served at or after this time.
        last: of the remaining answers, the N whose first label arrived last.
        prediction_ids: only these, 16 bytes each.
    """

    since_ns: int | None = None
    last: int | None = None
    prediction_ids: Collection[bytes] | None = None


@dataclass(frozen=True)
class LabeledAnswers:
    """Served answers with their labels, in the order of their first labels."""

    probabilities: npt.NDArray[np.float64]  # (N, K), as served
    labels: npt.NDArray[np.int64]  # (N,)

    def logits(self) -> npt.NDArray[np.float64]:
        """Return (N, K) logits / T, up to one constant per row."""
        return np.log(np.maximum(self.probabilities, _SMALLEST))


@dataclass(frozen=True)
class Recalibration:
    """The published card, and the measures before and after on the answers it was fitted on (in sample)."""

    card: Card
    parent_version: int
    labels: int
    old_temperature: float
    new_temperature: float
    before: Measures
    after: Measures


def recalibrate(
    ledger: Ledger,
    store: Store,
    model: str,
    *,
    version: int | None = None,
    answer_filter: AnswerFilter | None = None,
    min_labels: int = 100,
) -> Recalibration:
    """Fit a temperature on labeled answers of a version (default: production) and publish the next version.

    Does not promote it. Raises RecalibrationRefused if the version never served with this ledger or has fewer than
    `min_labels` labels, and the store's errors for a bundle that is missing or damaged.
    """
    parent = store.read(model, version)
    with ledger.read() as connection:
        answers = labeled_answers(connection, parent.card, answer_filter or AnswerFilter())
    _require(answers, parent.card, min_labels)
    old = parent.card.calibration.temperature
    new = old * fit_temperature(answers.logits(), answers.labels)
    probabilities = apply_temperature(answers.logits(), new / old)
    after = Measures.from_probabilities(probabilities, answers.labels)
    draft = _recalibrated(parent.card, new, probabilities, answers.labels, after)
    published = store.publish(model, lambda folder, number: _build(folder, number, parent, draft))
    return Recalibration(
        card=store.read(model, published).card,
        parent_version=parent.card.version,
        labels=len(answers.labels),
        old_temperature=old,
        new_temperature=new,
        before=Measures.from_probabilities(answers.probabilities, answers.labels),
        after=after,
    )


def labeled_answers(connection: Connection, card: Card, answer_filter: AnswerFilter) -> LabeledAnswers:
    """Read the labeled answers of a card's calibration. Raises RecalibrationRefused if it never served."""
    sha256 = card_sha256(card)
    known = [row for row in of_model(connection, card.name) if row.card_sha256 == sha256]
    if not known:
        raise RecalibrationRefused(
            f"The ledger has no answers of {card.name} version {card.version} with the card in the store. Serve this "
            "version first."
        )
    columns = (prediction.c.prediction_id, prediction.c.probabilities, label_current.c.label)
    wanted = (
        select(*columns)
        .join(label_current, label_current.c.prediction_id == prediction.c.prediction_id)
        .where(label_current.c.calibration_id == known[0].calibration_id)
        .order_by(label_current.c.first_feedback_id)
    )
    if answer_filter.since_ns is not None:
        wanted = wanted.where(prediction.c.served_at_ns >= answer_filter.since_ns)
    rows = connection.execute(wanted).all()
    if answer_filter.prediction_ids is not None:
        chosen = frozenset(answer_filter.prediction_ids)
        rows = [row for row in rows if row.prediction_id in chosen]
    if answer_filter.last is not None:
        rows = rows[-answer_filter.last :] if answer_filter.last > 0 else []
    flat = np.frombuffer(b"".join(row.probabilities for row in rows), dtype="<f4").astype(np.float64)
    labels = np.array([row.label for row in rows], dtype=np.int64)
    return LabeledAnswers(flat.reshape(len(rows), len(card.classes)), labels)


def _require(answers: LabeledAnswers, card: Card, min_labels: int) -> None:
    n, needed = len(answers.labels), max(min_labels, 1)
    if n < needed:
        raise RecalibrationRefused(
            f"Got {counted(n, 'labeled answer')} of {card.name} version {card.version}; expected at least "
            f"{needed:,}. Label more answers, or lower the minimum if you know why."
        )


def _recalibrated(
    card: Card,
    temperature: float,
    probabilities: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    measures: Measures,
) -> Card:
    """Return the parent's card with the new temperature, reference and threshold, but still the old version number."""
    confidence, predicted = top_label(probabilities)
    correct = predicted == labels
    calibration = CalibrationCard.from_reference(
        temperature=temperature,
        split=f"ledger: {len(labels)} labeled answers of version {card.version}",
        sums=BinSums.from_predictions(confidence, correct),
        measures=measures,
        method=card.calibration.method,
    )
    provenance = card.provenance.model_copy(update={"parent_version": card.version, "created_at": datetime.now(UTC)})
    changes = {"calibration": calibration, "provenance": provenance, "files": {}}
    sets = card.conformal and conformal(probabilities, labels, alpha=card.conformal.alpha)
    promises = {
        "referral": _referral(card.referral, confidence, correct),
        "conformal": sets and ConformalCard.from_sets(sets),
    }
    return card.model_copy(update=changes | promises)


def _referral(
    old: Referral | None, confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]
) -> Referral | None:
    """Return the threshold that now keeps the old promise; None if there was no promise or no threshold keeps it."""
    if old is None:
        return None
    found = referral_threshold(confidence, correct, promised_accuracy=old.promised_accuracy, delta=old.delta)
    if found is None:
        return None
    return Referral(
        threshold=found.confidence,
        promised_accuracy=found.promised_accuracy,
        delta=found.delta,
        coverage=found.coverage,
    )


def _build(folder: Path, version: int, parent: Bundle, draft: Card) -> None:
    card = draft.model_copy(update={"version": version})
    write_bundle(folder, card=card, onnx=with_temperature(parent.onnx, card.calibration.temperature))
