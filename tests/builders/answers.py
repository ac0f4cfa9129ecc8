"""Cards, answers and labels made from few numbers, and simulated predictions."""

from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bins import BinSums
from calibration.calibrators.temperature import softmax
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard, Referral
from model_store.bundle.card import Card
from monitoring.feedback import FeedbackItem
from monitoring.ledger import PredictionRow
from tests.builders.bundles import build_card

CLASSES = ("normal", "pneumonia")
NOW_NS = 1_790_000_000 * 10**9  # a fixed moment in 2026
SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS


def make_card(
    name: str = "pneumonia",
    version: int = 1,
    *,
    temperature: float = 1.0,
    classes: tuple[str, ...] = CLASSES,
) -> Card:
    """A card whose reference is a perfectly calibrated hundred."""
    sums = BinSums.from_predictions([0.75] * 100, [True] * 75 + [False] * 25)
    calibration = CalibrationCard.from_reference(
        temperature=temperature,
        split="validation",
        sums=sums,
        measures=Measures.from_sums(sums),
    )
    referral = Referral(threshold=0.7, promised_accuracy=0.8, delta=0.05, coverage=0.5)
    card = build_card(name=name, version=version, classes=classes, channels=1)
    return card.model_copy(update={"calibration": calibration, "referral": referral})


def prediction_id(number: int, *, at_ns: int = NOW_NS) -> bytes:
    """A UUIDv7 of that time whose random part is `number`."""
    milliseconds = at_ns // 1_000_000
    return milliseconds.to_bytes(6, "big") + b"\x70\x00\x80\x00" + number.to_bytes(6, "big")


def make_row(
    number: int,
    *,
    watched_version_id: int = 1,
    confidence: float = 0.9,
    predicted: int = 1,
    request_id: str | None = None,
    served_at_ns: int = NOW_NS,
) -> PredictionRow:
    """An answer of a two-class model."""
    probabilities = np.full(2, 1 - confidence, dtype="<f4")
    probabilities[predicted] = confidence
    return PredictionRow(
        prediction_id(number, at_ns=served_at_ns),
        watched_version_id,
        request_id,
        predicted,
        confidence,
        probabilities.tobytes(),
        served_at_ns,
    )


def row_of(
    number: int, probabilities: npt.ArrayLike, *, at_ns: int | None = None, **more: Any
) -> PredictionRow:
    """An answer of these probabilities (K,); the numbers are served one a second."""
    p, at_ns = np.asarray(probabilities, "<f4"), at_ns or NOW_NS + number * SECOND_NS
    key, best = prediction_id(number, at_ns=at_ns), int(p.argmax())
    return PredictionRow(key, 1, None, best, float(p[best]), p.tobytes(), at_ns)._replace(**more)


def draw(rng: np.random.Generator, probabilities: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """A class from each row of (N, K)."""
    return (probabilities.cumsum(axis=1) > rng.random((len(probabilities), 1))).argmax(axis=1)


def label(
    number: int, name: str = "pneumonia", *, at_ns: int = NOW_NS, source: str | None = None
) -> FeedbackItem:
    """A label for the answer of that number."""
    return FeedbackItem(name, prediction_id(number, at_ns=at_ns), source=source)


def simulated(
    seed: int,
    *,
    rows: int = 600,
    classes: int = 2,
    temperature: float = 1.0,
    bias: tuple[float, ...] | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Probabilities (rows, classes), and labels of softmax(logits / temperature + bias)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, classes))
    truth = softmax(logits / temperature + np.array(bias or (0.0,) * classes))
    return softmax(logits), draw(rng, truth)
