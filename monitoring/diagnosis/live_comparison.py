"""Two versions compared as like with like: on days on which both have labels, of the same kind.

A card's validation beside another version's live labels, or labels of other months, compare cases
and not versions. Images of a patient are right or wrong together, so intervals take labels for the
fewer independent ones that they are worth.
"""

import math
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from statistics import NormalDist
from typing import NamedTuple

from sqlalchemy import Connection

from calibration.bins import BinSums
from calibration.diagnosis.facts import IntervalEstimate
from calibration.measures import metrics
from calibration.measures.metrics import Z95
from calibration.wording import counted
from monitoring.diagnosis.accuracy import confidence_variance
from monitoring.diagnosis.phrases import answers_in_slice, listed
from monitoring.diagnosis.reading import read_inferred
from monitoring.diagnosis.vocabulary import COMPARED, INCOMPARABLE, WORSE
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import read_days
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.slices import AUDIT
from monitoring.ledger.sums import read_slices
from monitoring.ledger.watched_version import WatchedVersion

FEWEST = 30  # labels of each version
_NAMED = 3  # slices


class WorseSlice(NamedTuple):
    """A slice by its name in the ledger, and by how much the second version is less accurate."""

    name: str
    accuracy: IntervalEstimate


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
        worse: tags and true classes in which the second is less accurate, by Bonferroni's
            correction for all that are looked at; the worst first.
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
    worse: tuple[WorseSlice, ...] = ()


def compare_live(
    ledger: Ledger, connection: Connection, first: WatchedVersion, second: WatchedVersion
) -> LiveComparison | None:
    """Compare two versions; None if they have too few labels of the same kind on the same days."""
    worth = [read_inferred(ledger, connection, each).worth for each in (first, second)]
    for name in (AUDIT, EVERYTHING):
        days, *sums = _on_same_days(connection, first, second, name)
        if min(each.total for each in sums) >= FEWEST:
            numbers = (first.version, second.version, days, name == AUDIT)
            worse = _worse(connection, first, second, worth)
            return replace(_compared(*numbers, *sums, worth=worth), worse=worse)
    return None


def _on_same_days(
    connection: Connection, first: WatchedVersion, second: WatchedVersion, name: str
) -> tuple[int, BinSums, BinSums]:
    """How many days both have labels of a slice on, and the sums of these days of each."""
    by_day = [
        {each.first: each.labeled for each in found if each.labeled.total}
        for row in (first, second)
        for found in [read_days(connection, row.watched_version_id, name=name)]
    ]
    days = by_day[0].keys() & by_day[1].keys()
    one, other = (reduce(add, (each[day] for day in days), BinSums.zeros()) for each in by_day)
    return len(days), one, other


def _worse(
    connection: Connection, first: WatchedVersion, second: WatchedVersion, worth: list[float]
) -> tuple[WorseSlice, ...]:
    """By all labels, drawn or not."""
    slices = [read_slices(connection, each.watched_version_id) for each in (first, second)]
    names = [
        name
        for name in slices[0].keys() & slices[1].keys()
        if name.startswith(("tag:", "true:"))
        and min(each[name].labeled.total for each in slices) >= FEWEST
    ]
    pairs = {name: _on_same_days(connection, first, second, name)[1:] for name in names}
    judged = {
        name: pair for name, pair in pairs.items() if min(each.total for each in pair) >= FEWEST
    }
    critical = NormalDist().inv_cdf(1 - 0.05 / (2 * max(len(judged), 1)))
    found = [WorseSlice(name, _difference(*pair, worth, critical)) for name, pair in judged.items()]
    return tuple(
        sorted((x for x in found if x.accuracy.upper < 0), key=lambda x: x.accuracy.estimate)
    )


def _difference(
    one: BinSums, other: BinSums, worth: list[float], critical: float
) -> IntervalEstimate:
    """Accuracy of the second minus that of the first, `critical` standard errors to each side."""
    shares = [metrics.accuracy(each) for each in (one, other)]
    return _interval(shares, [_of_share(each) for each in (one, other)], worth, critical)


def comparison_words(found: LiveComparison | None) -> str:
    """Say how the second version differs from the first."""
    if found is None:
        return INCOMPARABLE.format(fewest=FEWEST)
    said = COMPARED.format(
        days=counted(found.days, "day"),
        labels=f"{found.n_second:,} and {found.n_first:,}",
        second=found.second,
        first=found.first,
        accuracy=_points(found.accuracy),
        cases=f"{100 * found.from_cases.estimate:+.1f}",
        gap=_points(found.gap),
    )
    if not found.worse:
        return said
    named = [f"{_slice(each.name)}: {_points(each.accuracy)}" for each in found.worse[:_NAMED]]
    return f"{said} {WORSE.format(second=found.second, slices=listed(named))}"


def _slice(name: str) -> str:
    kind, _, value = name.partition(":")
    return answers_in_slice(name) if kind == "tag" else f'images that are truly "{value}"'


def _compared(
    first: int,
    second: int,
    days: int,
    audit: bool,
    one: BinSums,
    other: BinSums,
    *,
    worth: list[float],
) -> LiveComparison:
    means = [metrics.mean_confidence(each) for each in (one, other)]
    gaps = [metrics.signed_gap(each) for each in (one, other)]
    return LiveComparison(
        first,
        second,
        days,
        audit,
        one.total,
        other.total,
        _difference(one, other, worth, Z95),
        _interval(means, [confidence_variance(each) for each in (one, other)], worth),
        _interval(gaps, [metrics.signed_gap_variance(each) for each in (one, other)], worth),
    )


def _interval(
    values: list[float], variances: list[float], worth: list[float], critical: float = Z95
) -> IntervalEstimate:
    variance = sum(each / own for each, own in zip(variances, worth, strict=True))
    difference, half = values[1] - values[0], critical * math.sqrt(variance)
    return IntervalEstimate(difference, difference - half, difference + half)


def _of_share(sums: BinSums) -> float:
    """Variance of a share; a right and a wrong answer are added, so 100 % is not certain."""
    share = (float(sums.correct.sum()) + 1) / (sums.total + 2)
    return share * (1 - share) / sums.total


def _points(found: IntervalEstimate) -> str:
    estimate, lower, upper = (100 * each for each in (found.estimate, found.lower, found.upper))
    return f"{estimate:+.1f} points ({lower:+.1f} to {upper:+.1f})"
