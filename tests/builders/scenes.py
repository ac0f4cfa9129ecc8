"""Scenes: a seeded simulation of a model and of the people who label, on a real ledger."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from calibration.bins import BinSums
from calibration.drift.state import DriftSettings
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from tests.builders.answers import CLASSES, label, make_card, make_row
from tests.builders.monitored import MonitoredModel

DRAWING = DriftSettings(audit=True)
SHARE = 0.25


class Answer(NamedTuple):
    """One answer and what is true about it."""

    number: int
    confidence: float
    predicted: int
    right: bool
    drawn: bool
    chance: float  # uniform, for who gets a label


def answers(
    n: int,
    accuracy: Callable[[np.ndarray], np.ndarray],
    *,
    seed: int = 0,
    lowest: float = 0.5,
    highest: float = 1.0,
) -> list[Answer]:
    """Confidence is uniform; `accuracy` says how often answers of a confidence are right."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(lowest, highest, n)
    right, drawn = rng.random(n) < accuracy(confidence), rng.random(n) < SHARE
    columns = (confidence, rng.integers(0, 2, n), right, drawn, rng.random(n))
    return [
        Answer(number, *row)
        for number, row in enumerate(zip(*(each.tolist() for each in columns), strict=True))
    ]


def calibrated(confidence: np.ndarray) -> np.ndarray:
    return confidence


def sure_and_wrong(confidence: np.ndarray) -> np.ndarray:
    """Overconfident by ten points at .8 and above."""
    return np.where(confidence >= 0.8, confidence - 0.1, confidence)


def card() -> Card:
    """A reference of a thousand such answers of a calibrated model, 75 % right."""
    reference = answers(1_000, calibrated, seed=99)
    sums = BinSums.from_predictions(
        [each.confidence for each in reference], [each.right for each in reference]
    )
    calibration = CalibrationCard.from_reference(
        temperature=1.0, split="validation", sums=sums, measures=Measures.from_sums(sums)
    )
    return make_card().model_copy(update={"calibration": calibration})


def serve(monitored: MonitoredModel, given: Sequence[Answer], *, audit: bool = False) -> None:
    rows = (
        make_row(each.number, confidence=each.confidence, predicted=each.predicted)
        for each in given
    )
    drawn = (SHARE if audit and each.drawn else None for each in given)
    monitored.serve(*(row._replace(audit=share) for row, share in zip(rows, drawn, strict=True)))


def tell(monitored: MonitoredModel, given: Sequence[Answer]) -> None:
    names = (CLASSES[each.predicted if each.right else 1 - each.predicted] for each in given)
    monitored.label(*(label(each.number, name) for each, name in zip(given, names, strict=True)))
