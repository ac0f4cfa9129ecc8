"""Scenes: a seeded simulation of a model and of the people who label, on a real ledger, and what is
said about it.
"""

from collections.abc import Callable, Sequence
from html import unescape
from typing import NamedTuple

import numpy as np

from calibration.bins import BinSums
from calibration.drift.state import DriftSettings
from calibration.measures.summary import Measures
from candor.terminal.report import report_tables
from model_store.bundle.card import CalibrationCard, Card
from monitoring.reports.page_data import read_page_data
from monitoring.reports.report import Report, calibration_report
from serving.pages.models import model_page
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
    """A reference of a thousand answers of a calibrated model with such confidences, right in 75
    %.
    """
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


def complained_about(given: Sequence[Answer]) -> list[Answer]:
    """Wrong answers get labels five times as often as right ones."""
    return [each for each in given if each.chance < (0.5 if not each.right else 0.1)]


class Told(NamedTuple):
    """The report, and all that terminal and page say."""

    report: Report
    terminal: str
    page: str

    @property
    def advice(self) -> tuple[str, ...]:
        return self.report.recommendation.what_to_do

    def says(self, words: str) -> bool:
        """Whether both terminal and page say so."""
        found = (words in self.terminal, words in self.page)
        assert len(set(found)) == 1, found
        return found[0]


def told(monitored: MonitoredModel) -> Told:
    report = calibration_report(monitored.ledger, "pneumonia")
    terminal = "\n".join(part for part in report_tables(report) if isinstance(part, str))
    page = unescape(model_page(read_page_data(monitored.ledger, "pneumonia")))
    for tag in ("<code>", "</code>"):
        page = page.replace(tag, "`")
    assert "Recalibrate or roll back" not in report.verdict
    return Told(report, terminal, page)
