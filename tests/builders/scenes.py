"""Scenes: a seeded simulation of a model and of the people who label, on a real ledger, and what is
printed about it.
"""

import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from html import unescape
from typing import NamedTuple

import numpy as np
from rich.console import Console

from calibration.bins import BinSums
from calibration.drift.state import DriftSettings
from calibration.measures.summary import Measures
from candor.terminal.report import report_tables
from model_store.bundle.card import CalibrationCard, Card
from monitoring.reports.page_data import read_page_data
from monitoring.reports.report import Report
from serving.pages.models import model_page
from tests.builders.answers import CLASSES, label, make_card, make_row
from tests.builders.monitored import MonitoredModel

DRAWING = DriftSettings(audit=True)
SHARE = 0.25
# An interval of nothing or of one point, minus zero, "1 labels".
_IMPOSSIBLE = re.compile(
    r"\[-, -\]|-0\.0+(?![0-9])|\bnan\b|\binf\b"
    r"|\b1 (labels|answers|items|slices|comparisons)\b"
    r"|95 % interval ([+-]?[\d.]+)( %)? to \2( %)?\b"
)


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


def shown(monitored: MonitoredModel) -> tuple[Report, tuple[str, str]]:
    """Return the report, and what the terminal and the page print about it, without pictures.

    No text has a figure that cannot be, or says a sentence twice.
    """
    found = read_page_data(monitored.ledger, monitored.card.name)
    console = Console(width=2_000, record=True, file=io.StringIO())
    for part in report_tables(found.report):
        console.print(part)
    page = re.sub(r"<(svg|style).*?</\1>", "", model_page(found), flags=re.DOTALL)
    # The history is a record: it may repeat the evidence.
    page = re.sub(r"<h2>History</h2>.*?</section>", "", page, flags=re.DOTALL)
    page = re.sub(r"</(p|li|h\d|td|th|div|span|section)>", "\n", page)
    page = unescape(re.sub(r"<[^>]+>", "", re.sub(r"</?code>", "`", page)))
    texts = (console.export_text(), page)
    for text in texts:
        assert not (impossible := _IMPOSSIBLE.search(text)), impossible
        counts = Counter(part.strip(" -") for part in re.split(r"(?<=[.!?]) |\n", text))
        assert [each for each, count in counts.items() if count > 1 and len(each) > 30] == []
    return found.report, texts
