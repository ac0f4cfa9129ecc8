"""Streams: weeks of answers of a simulated model at several sites, labeled day by day, on a ledger."""

import json
from dataclasses import dataclass, field, replace

import numpy as np

from monitoring.feedback import FeedbackItem
from monitoring.ledger import PredictionRow
from tests.builders.answers import CLASSES, DAY_NS, NOW_NS, label, make_row
from tests.builders.monitored import MonitoredModel

START_NS = NOW_NS - 60 * DAY_NS


@dataclass(frozen=True)
class Stream:
    """Answers (N,), evenly over `days` days from START_NS on. `right`: by the truth."""

    day: np.ndarray
    confidence: np.ndarray
    predicted: np.ndarray
    right: np.ndarray
    site: np.ndarray
    labeled: np.ndarray
    drawn: np.ndarray
    rng: np.random.Generator = field(repr=False)
    scope_p: np.ndarray | None = None

    def where(self, **changes: np.ndarray) -> "Stream":
        """The same with other columns."""
        return replace(self, **changes)

    def wrong_by(self, drop: float, which: np.ndarray) -> "Stream":
        """Where `which`, answers are right less often than their confidence, by `drop`."""
        right = np.where(which, self.rng.random(len(self.day)) < self.confidence - drop, self.right)
        return self.where(right=right)


def stream(n: int, *, days: int = 50, sites: int = 4, seed: int = 0, lowest: float = 0.5) -> Stream:
    """A calibrated stream whose answers all have labels."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(lowest, 1.0, n)
    return Stream(
        day=np.arange(n) * days // n,
        confidence=confidence,
        predicted=rng.integers(0, 2, n),
        right=rng.random(n) < confidence,
        site=rng.integers(0, sites, n),
        labeled=np.ones(n, dtype=bool),
        drawn=np.zeros(n, dtype=bool),
        rng=rng,
    )


def send(
    monitored: MonitoredModel, given: Stream, *, delay_days: int = 0, tags: bool = True
) -> None:
    """Serve the answers day by day; labels come after the delay. The clock ends on the last day."""
    last = int(given.day.max())
    for day in range(last + 1):
        monitored.ledger.clock.now_ns = START_NS + (day + 1) * DAY_NS
        monitored.serve(*_rows(given, np.flatnonzero(given.day == day), tags=tags))
        due = np.flatnonzero((given.day == day - delay_days) & given.labeled)
        monitored.label(*_labels(given, due))


def _rows(given: Stream, index: np.ndarray, *, tags: bool) -> list[PredictionRow]:
    answers = zip(given.confidence[index].tolist(), given.predicted[index].tolist(), strict=True)
    return [
        make_row(i, confidence=confidence, predicted=k, served_at_ns=_at_ns(given, i))._replace(
            tags=json.dumps({"site": f"S{given.site[i]}"}) if tags else None,
            audit=0.25 if given.drawn[i] else None,
            scope_p=None if given.scope_p is None else float(given.scope_p[i]),
        )
        for i, (confidence, k) in zip(index.tolist(), answers, strict=True)
    ]


def _labels(given: Stream, index: np.ndarray) -> list[FeedbackItem]:
    true = np.where(given.right, given.predicted, 1 - given.predicted)
    return [label(i, CLASSES[true[i]], at_ns=_at_ns(given, i)) for i in index.tolist()]


def _at_ns(given: Stream, i: int) -> int:
    return START_NS + int(given.day[i]) * DAY_NS + i * 1_000_000
