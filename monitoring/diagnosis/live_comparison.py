"""Two versions compared as like with like: on days on which both have labels, of the same kind.

A card's validation beside another version's live labels, or labels of other months, compare cases
and not versions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add

from sqlalchemy import Connection

from calibration.bins import BinSums
from calibration.diagnosis.facts import IntervalEstimate
from calibration.measures import metrics
from calibration.measures.metrics import Z95
from calibration.wording import counted
from monitoring.diagnosis.accuracy import confidence_variance
from monitoring.diagnosis.vocabulary import COMPARED, INCOMPARABLE
from monitoring.ledger.days import read_days
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.slices import AUDIT
from monitoring.ledger.versions import WatchedVersion

FEWEST = 30  # labels of each version


@dataclass(frozen=True)
class LiveComparison:
    """Version `second` minus version `first`, with 95 % intervals.

    Attributes:
        days: on which both have labels.
        audit: whether only labels of answers drawn at random count, of both.
        n_first, n_second: labels on these days.
        accuracy: difference of the shares of right answers.
        from_cases: the part that other cases explain, which change confidence as well.
        gap: difference of confidence minus accuracy.
    """

    first: int
    second: int
    days: int
    audit: bool
    n_first: int
    n_second: int
    accuracy: IntervalEstimate
    from_cases: IntervalEstimate
    gap: IntervalEstimate


def compare_live(
    connection: Connection, first: WatchedVersion, second: WatchedVersion
) -> LiveComparison | None:
    """Compare two versions; None if they have too few labels of the same kind on the same days."""
    for name in (AUDIT, EVERYTHING):
        one, other = (_by_day(connection, each, name) for each in (first, second))
        days = one.keys() & other.keys()
        sums = [reduce(add, (each[day] for day in days), BinSums.zeros()) for each in (one, other)]
        if min(each.total for each in sums) >= FEWEST:
            numbers = (first.version, second.version, len(days), name == AUDIT)
            return _compared(*numbers, *sums)
    return None


def comparison_words(found: LiveComparison | None) -> str:
    """Say how the second version differs from the first."""
    if found is None:
        return INCOMPARABLE.format(fewest=FEWEST)
    return COMPARED.format(
        days=counted(found.days, "day"),
        labels=f"{found.n_second:,} and {found.n_first:,}",
        second=found.second,
        first=found.first,
        accuracy=_points(found.accuracy),
        cases=f"{100 * found.from_cases.estimate:+.1f}",
        gap=_points(found.gap),
    )


def _compared(
    first: int, second: int, days: int, audit: bool, one: BinSums, other: BinSums
) -> LiveComparison:
    shares = [metrics.accuracy(each) for each in (one, other)]
    means = [metrics.mean_confidence(each) for each in (one, other)]
    gaps = [metrics.signed_gap(each) for each in (one, other)]
    return LiveComparison(
        first,
        second,
        days,
        audit,
        one.total,
        other.total,
        _interval(shares, [_of_share(each) for each in (one, other)]),
        _interval(means, [confidence_variance(each) for each in (one, other)]),
        _interval(gaps, [metrics.signed_gap_variance(each) for each in (one, other)]),
    )


def _by_day(connection: Connection, row: WatchedVersion, name: str) -> Mapping[int, BinSums]:
    days = read_days(connection, row.watched_version_id, name=name)
    return {each.first: each.labeled for each in days if each.labeled.total}


def _interval(values: list[float], variances: list[float]) -> IntervalEstimate:
    difference, half = values[1] - values[0], Z95 * math.sqrt(sum(variances))
    return IntervalEstimate(difference, difference - half, difference + half)


def _of_share(sums: BinSums) -> float:
    """Variance of a share; a right and a wrong answer are added, so 100 % is not certain."""
    share = (float(sums.correct.sum()) + 1) / (sums.total + 2)
    return share * (1 - share) / sums.total


def _points(found: IntervalEstimate) -> str:
    estimate, lower, upper = (100 * each for each in (found.estimate, found.lower, found.upper))
    return f"{estimate:+.1f} points ({lower:+.1f} to {upper:+.1f})"
