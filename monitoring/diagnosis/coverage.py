"""Answers that no label speaks for: how many, of which kind, and what they could hide.

A label says something about answers of its kind only. Labels that are still due, by the usual
delay, are not missing yet.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import BIN_COUNT
from calibration.diagnosis.facts import AnswerGroup, IntervalEstimate
from monitoring.diagnosis.facts import Unchecked
from monitoring.ledger.database import summed
from monitoring.ledger.schema import DAY_NS, EVERYTHING, bin_day
from monitoring.ledger.sum_tables import AUDIT

NOTABLE_SHARE = 0.05  # of the answers served; of smaller kinds only those without any label
FEW, FEW_IN_BIN = 20, 30  # labels below which a gap of ten points can go unseen
_NEARLY_ALL = 0.9  # of a kind: whoever labels that many has left out little
_NEGLECTED = 0.25  # of the labels that a bin's share of the answers would give it


class Count(NamedTuple):
    """Answers and labels, with the sums of confidence and of right answers."""

    served: int = 0
    n: int = 0
    served_confidence: float = 0.0
    confidence: float = 0.0
    correct: float = 0.0

    @property
    def missing(self) -> float:
        """Share of the answers without a label; NaN without answers."""
        return 1 - self.n / self.served if self.served else math.nan


@dataclass(frozen=True)
class LabelCoverage:
    """Answers and labels by slice: `due` of days whose labels should be here, `recent` of the last
    of these; `bins`: (2, M) answers and labels of each confidence bin, due.
    """

    due: Mapping[str, Count]
    recent: Mapping[str, Count]
    bins: np.ndarray

    @property
    def whole(self) -> Count:
        return self.due.get(EVERYTHING, Count())

    @property
    def audit(self) -> Count:
        """Of the answers drawn at random."""
        return self.due.get(AUDIT, Count())

    def hidden(self, *, audit: bool) -> IntervalEstimate:
        """The gap, and between which ends missing labels could move it (Manski 1990)."""
        count = self.audit if audit else self.whole
        if not count.n:
            return IntervalEstimate(math.nan, -1.0, 1.0)
        gap, left = (count.confidence - count.correct) / count.n, count.served - count.n
        sure = max(count.served_confidence - count.confidence, 0.0)
        total = count.confidence - count.correct + sure
        return IntervalEstimate(gap, (total - left) / count.served, total / count.served)


def read_coverage(
    connection: Connection, watched_version_id: int, *, due_s: float, recent_s: float
) -> LabelCoverage:
    """Count answers and labels served before `due_s`, and in the `recent_s` seconds before it."""
    due_day = int(due_s * 1e9 // DAY_NS)
    first_day = due_day - math.ceil(recent_s * 1e9 / DAY_NS) + 1
    recent = _counts(connection, watched_version_id, first_day, due_day)
    columns = bin_day.c
    wanted = select(columns.bin, summed(columns.served), summed(columns.n)).where(
        columns.watched_version_id == watched_version_id,
        columns.slice == EVERYTHING,
        columns.day <= due_day,
    )
    bins = np.zeros((2, BIN_COUNT))
    for number, *counts in connection.execute(wanted.group_by(columns.bin)):
        bins[:, number] = counts
    return LabelCoverage(_counts(connection, watched_version_id, 0, due_day), recent, bins)


def find_unchecked(coverage: LabelCoverage) -> tuple[Unchecked, ...]:
    """Return the kinds of answers with too few labels, largest first, then confidence ranges."""
    kinds = [*_neglected(coverage.due, coverage.whole.served)]
    known = {each.group for each in kinds}
    recent = coverage.recent.get(EVERYTHING, Count())
    if recent.n:  # otherwise labels of all kinds ended
        kinds += [
            each
            for each in _neglected(coverage.recent, recent.served, none_only=True)
            if each.group not in known
        ]
    ranges = _ranges(coverage.bins) if coverage.whole.n else ()
    return (*sorted(kinds, key=lambda each: (-each.share, each.group.values)), *ranges)


def _neglected(
    counts: Mapping[str, Count], total: int, *, none_only: bool = False
) -> Iterator[Unchecked]:
    if not counts.get(EVERYTHING, Count()).n:
        return
    for name, count in counts.items():
        group = group_of(name)
        if group is None or count.served < FEW:
            continue
        share, few = count.served / total, count.n < min(FEW, _NEARLY_ALL * count.served)
        if count.n == 0 or (few and share >= NOTABLE_SHARE and not none_only):
            yield Unchecked(group, share, count.served, count.n)


def group_of(name: str) -> AnswerGroup | None:
    """Return the group of a slice; None for all answers and for true classes.

    >>> group_of("tag:site=B")
    AnswerGroup(key='tag:site', values=('B',), within=None)
    """
    kind, _, rest = name.partition(":")
    if kind == "predicted":
        return AnswerGroup("predicted", (rest,))
    if kind == "tag":
        key, _, value = rest.partition("=")
        return AnswerGroup(f"tag:{key}", (value,))
    return None


def _ranges(bins: np.ndarray) -> Iterator[Unchecked]:
    """Neighboring bins that are hardly labeled, if together they hold a notable share."""
    (served, n), count = bins, bins.shape[1]
    total = served.sum()
    expected = n.sum() * served / total
    neglected = (served > 0) & ((n == 0) | ((n < FEW_IN_BIN) & (n < _NEGLECTED * expected)))
    if served[neglected].sum() < NOTABLE_SHARE * total:
        return
    ends = np.flatnonzero(np.diff([False, *(neglected | (served + n == 0)), False]))
    for first, last in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True):
        inside = np.flatnonzero(neglected[first:last]) + first
        if len(inside):
            part = slice(int(inside[0]), int(inside[-1]) + 1)
            values = (f"{part.start / count:.2f}-{part.stop / count:.2f}",)
            answers = int(served[part].sum())
            yield Unchecked(
                AnswerGroup("confidence", values), answers / total, answers, int(n[part].sum())
            )


def _counts(
    connection: Connection, watched_version_id: int, first_day: int, last_day: int
) -> dict[str, Count]:
    columns = bin_day.c
    sums = [summed(columns[name]) for name in Count._fields]
    wanted = select(columns.slice, *sums).where(
        columns.watched_version_id == watched_version_id,
        columns.day.between(first_day, last_day),
    )
    rows = connection.execute(wanted.group_by(columns.slice))
    return {
        name: Count(int(served), int(n), *(float(each) for each in rest))
        for name, served, n, *rest in rows
    }
