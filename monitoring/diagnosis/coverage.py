"""The labels that a report covers, and the answers that none speaks for: how many, of which kind,
and what they could hide.

A label says something about answers of its kind only. Labels that are still due, by the usual
delay, are not missing yet.

A report covers a window: `now`, since the error that goes on began, or the last one ended
(`present.py`; without one: `all`); `all`; or `days:N`, served on the last N days (UTC, including
today), which is read from the day sums, so its cost does not depend on the number of answers.

How old is too old follows a version's own rhythm: how often answers and labels come, how late.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Select, Table, select

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Tag
from calibration.diagnosis.facts import AnswerGroup
from calibration.diagnosis.groups import ALL, TAG
from calibration.measures.estimates import IntervalEstimate
from monitoring.diagnosis.facts import Clock, Unchecked
from monitoring.errors import QueryInvalid, brief
from monitoring.ledger.day_sums import DaySums
from monitoring.ledger.schema import DAY_NS, EVERYTHING, bin_day, bin_total
from monitoring.ledger.sum_tables import AUDIT, UNITS, added

NOTABLE_SHARE = 0.05  # of the answers served; of smaller kinds only those without any label
FEW, FEW_IN_BIN = 20, 30  # labels below which a gap of ten points can go unseen
_NEARLY_ALL = 0.9  # of a kind: whoever labels that many has left out little
_NEGLECTED = 0.25  # of the labels that a bin's share of the answers would give it
_PER_ONE = (UNITS, UNITS, 1)  # of the sums of Count after the first two


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
    connection: Connection,
    watched_version_id: int,
    everything: DaySums,
    *,
    due_s: float,
    recent_s: float,
) -> LabelCoverage:
    """Count answers and labels served before `due_s`, and in the `recent_s` seconds before it.

    `everything`: the day sums of all answers.
    """
    due_day = int(due_s * 1e9 // DAY_NS)
    first_day = due_day - math.ceil(recent_s * 1e9 / DAY_NS) + 1
    due, recent = _counts(connection, watched_version_id, first_day, due_day)
    sums = everything.until(due_day).added()
    return LabelCoverage(due, recent, np.array([sums.served, sums.labeled.n], dtype=np.float64))


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
    connection: Connection, watched_version_id: int, first_day: int, due_day: int
) -> tuple[dict[str, Count], dict[str, Count]]:
    """Count by slice up to a day, which is all but what came after it, and on the last days."""
    is_later = bin_day.c.day > due_day
    total = _by_slice(bin_total, watched_version_id)
    days = _by_slice(bin_day, watched_version_id).where(bin_day.c.day >= first_day)
    due = {name: np.array(sums) for name, *sums in connection.execute(total)}
    recent = {}
    for name, *sums, later in connection.execute(days.add_columns(is_later).group_by(is_later)):
        if later:
            due[name] -= sums
        else:
            recent[name] = np.array(sums)
    return _as_counts(due), _as_counts(recent)


def _by_slice(table: Table, watched_version_id: int) -> Select[Any]:
    sums = (added(table.c[name]) for name in Count._fields)
    mine = table.c.watched_version_id == watched_version_id
    return select(table.c.slice, *sums).where(mine).group_by(table.c.slice)


def _as_counts(found: Mapping[str, IntArray]) -> dict[str, Count]:
    return {
        name: Count(int(sums[0]), int(sums[1]), *(sums[2:] / _PER_ONE).tolist())
        for name, sums in found.items()
        if sums.any()
    }


NOW = "now"
DAYS_LIMIT = 10_000


def first_day(window: str, *, now_ns: int) -> int | None:
    """Return the first UTC day of a window, counted from 1970, None if all days count. Raises
    QueryInvalid.

    >>> first_day("days:2", now_ns=100 * DAY_NS), first_day("all", now_ns=0)
    (99, None)
    """
    if window in (NOW, "all"):
        return None
    found = re.fullmatch(r"days:([0-9]{1,9})", window)
    if found is None or not 1 <= int(found[1]) <= DAYS_LIMIT:
        raise QueryInvalid(
            f"Got the window {brief(window)}; expected 'now', 'all' or 'days:N', with N up to "
            f"{DAYS_LIMIT:,} days."
        )
    return now_ns // DAY_NS - int(found[1]) + 1


DAY_S = 86_400.0
_LABELS_S, _ANSWERS_S = 14 * DAY_S, 28 * DAY_S  # the shortest times that count as long
_LONG = 3.0  # times the usual pause
_AT_ONCE = 0.1  # of the time in which answers were served: an upload says nothing about delays
_USUAL, _EARLY, _LATE = 0.95, 0.05, 0.99  # quantiles of pauses and of delays
_CLOCK_S = 7 * DAY_S  # that labels of a tag value come later than others': chance does less


@dataclass(frozen=True)
class Rhythm:
    """Seconds: pauses of labels and answers that are long, and the delay of nearly all labels."""

    labels_s: float
    answers_s: float
    delay_s: float


def rhythm_of(served_s: FloatArray, received_s: FloatArray, answered_s: FloatArray) -> Rhythm:
    """Return the rhythm of a version.

    Where all labels arrived at once, after the fact, their delay is not known, and taken for 0.

    Args:
        served_s, received_s: (N,) when labeled answers were served, and their labels arrived.
        answered_s: (D,) days on which answers were served, in order.
    """
    came_s = served_s if _came_at_once(served_s, received_s) else received_s
    late = np.maximum(came_s - served_s, 0.0)
    return Rhythm(
        labels_s=max(_LABELS_S, _LONG * _pause(came_s)),
        answers_s=max(_ANSWERS_S, _LONG * _pause(answered_s)),
        delay_s=float(np.quantile(late, _LATE)) if len(late) else 0.0,
    )


def _came_at_once(served_s: FloatArray, received_s: FloatArray) -> bool:
    return len(served_s) > 0 and bool(np.ptp(received_s) < _AT_ONCE * np.ptp(served_s))


def find_clock(
    served_s: FloatArray, received_s: FloatArray, tags: Mapping[str, Tag]
) -> Clock | None:
    """Return the tag value whose labels come later, or earlier, than those of all others, even the
    first of them, by a week or more: the clock that tells when its answers were served may be off.

    Args:
        served_s, received_s: as of `rhythm_of`.
        tags: of the same answers.
    """
    if _came_at_once(served_s, received_s):
        return None
    late, found = received_s - served_s, [(0.0, AnswerGroup(ALL))]
    for key, tag in tags.items():
        for code, name in enumerate(tag.names):
            own = tag.codes == code
            if FEW <= own.sum() <= len(own) - FEW:
                by = [float(np.quantile(late[rows], _EARLY)) for rows in (own, ~own)]
                found.append((by[0] - by[1], AnswerGroup(TAG + key, (name,))))
    behind_s, group = max(found, key=lambda each: abs(each[0]))
    return Clock(group, behind_s) if abs(behind_s) > _CLOCK_S else None


def _pause(times_s: FloatArray) -> float:
    """The usual pause between days on which something came; 0 for fewer than three."""
    days = np.unique(times_s // DAY_S)
    return float(np.quantile(np.diff(days), _USUAL)) * DAY_S if len(days) > 2 else 0.0


def is_old(newest_s: float, now_s: float, limit_s: float) -> bool:
    """Whether the newest is longer ago than that; False if there is none (NaN)."""
    return math.isfinite(newest_s) and now_s - newest_s > limit_s
