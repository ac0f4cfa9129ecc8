"""Two versions compared as like with like: on images that both answered, one as the other's shadow,
or else on days on which both have labels, of the same kind.

A card's validation beside another version's live labels, or labels of other months, compare cases
and not versions. Images of a patient are right or wrong together, so intervals take labels for the
fewer independent ones that they are worth.
"""

from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import BinSums, FloatArray
from calibration.diagnosis.facts import AnswerGroup
from calibration.measures.estimates import (
    IntervalEstimate,
    accuracy_difference,
    confidence_difference,
    gap_difference,
    paired_difference,
)
from calibration.wording import counted
from model_store.bundle.comparison import CardComparison
from monitoring.diagnosis.phrases import answers_in_slice, group_words, listed
from monitoring.diagnosis.reading import LIMIT, read_inferred
from monitoring.diagnosis.vocabulary import (
    CARDS_COMPARED,
    CARDS_INCOMPARABLE,
    COMPARED,
    IN_GROUP,
    INCOMPARABLE,
    OF_CLASSES,
    PAIRED,
    WORSE,
)
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import read_days
from monitoring.ledger.schema import CORRECT, EVERYTHING, IS_LABELED, prediction
from monitoring.ledger.sum_tables import AUDIT
from monitoring.ledger.sums import read_slices
from monitoring.ledger.version_events import has_shadows, shadow_id
from monitoring.ledger.watched_version import WatchedVersion

FEWEST = 30  # labels of each version
_NAMED = 3  # slices


class WorseSlice(NamedTuple):
    """A slice by its name in the ledger, and by how much the second version is less accurate."""

    name: str
    accuracy: IntervalEstimate


class GroupDifference(NamedTuple):
    """By how much confidence minus accuracy of a group differs, on days with labels of both."""

    group: AnswerGroup
    n_first: int
    n_second: int
    gap: IntervalEstimate


@dataclass(frozen=True)
class LiveComparison:
    """Version `second` minus version `first`, with 95 % intervals.

    Attributes:
        days: on which both have labels.
        audit: whether only labels of answers drawn at random count, of both.
        paired: whether the labels are of the same images, because one was the other's shadow.
        n_first, n_second: labels on these days, or of these images.
        accuracy: difference of the shares of right answers.
        from_cases: the part that other cases explain, which change confidence as well.
        gap: difference of confidence minus accuracy.
        worse: tags and true classes in which the second is less accurate, by Bonferroni's
            correction for all that are looked at; the worst first.
        group: the same gap of the group that was asked for; None with too few labels of it.
    """

    first: int
    second: int
    days: int
    audit: bool
    paired: bool
    n_first: int
    n_second: int
    accuracy: IntervalEstimate
    from_cases: IntervalEstimate
    gap: IntervalEstimate
    worse: tuple[WorseSlice, ...] = ()
    group: GroupDifference | None = None


def compare_live(
    ledger: Ledger,
    connection: Connection,
    first: WatchedVersion,
    second: WatchedVersion,
    *,
    group: AnswerGroup | None = None,
) -> LiveComparison | None:
    """Compare two versions, also in a `group` of one tag if one is given.

    Return None if they have too few labels of the same kind on the same days.
    """
    found = _compare(ledger, connection, first, second)
    if found is None or group is None:
        return found
    sums = [
        _on_same_days(connection, first, second, f"{group.key}={value}")[1:]
        for value in group.values
    ]
    both = [reduce(add, each) for each in zip(*sums, strict=True)]
    if min(each.total for each in both) < FEWEST:
        return found
    worth = [read_inferred(ledger, connection, each).inference.worth for each in (first, second)]
    gap = gap_difference((both[0], both[1]), worth=worth)
    return replace(found, group=GroupDifference(group, both[0].total, both[1].total, gap))


def _compare(
    ledger: Ledger, connection: Connection, first: WatchedVersion, second: WatchedVersion
) -> LiveComparison | None:
    worth = [read_inferred(ledger, connection, each).inference.worth for each in (first, second)]
    pairs = _pairs(connection, first, second) if has_shadows(connection) else np.empty((0, 4))
    if len(pairs) >= FEWEST:
        days = _on_same_days(connection, first, second, EVERYTHING)[0]
        found = _of_pairs(first.version, second.version, days, pairs, worth=min(worth))
        return replace(found, worse=_worse(connection, first, second, worth))
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


def _pairs(connection: Connection, first: WatchedVersion, second: WatchedVersion) -> FloatArray:
    """Confidence and outcome of both versions, (n, 4), for the latest images that both answered."""
    columns = prediction.c
    one, other = (
        {
            key: answer
            for key, *answer in connection.execute(
                select(columns.prediction_id, columns.confidence, CORRECT)
                .where(columns.watched_version_id == each.watched_version_id, IS_LABELED)
                .order_by(columns.first_feedback_id.desc())
                .limit(LIMIT)
            )
        }
        for each in (first, second)
    )
    pairs = [(*one[key], *other[shadow_id(key)]) for key in one if shadow_id(key) in other]
    return np.array(pairs, dtype=np.float64).reshape(-1, 4)


def _of_pairs(
    first: int, second: int, days: int, pairs: FloatArray, *, worth: float
) -> LiveComparison:
    p_first, right_first, p_second, right_second = pairs.T
    accuracy = right_second - right_first
    return LiveComparison(
        first,
        second,
        days,
        False,
        True,
        len(pairs),
        len(pairs),
        paired_difference(accuracy, worth=worth),
        IntervalEstimate(0.0, 0.0, 0.0),
        paired_difference(p_second - p_first - accuracy, worth=worth),
    )


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
    found = [
        WorseSlice(name, accuracy_difference(pair, worth=worth, critical=critical))
        for name, pair in judged.items()
    ]
    return tuple(
        sorted((x for x in found if x.accuracy.upper < 0), key=lambda x: x.accuracy.estimate)
    )


def comparison_words(found: LiveComparison | None) -> str:
    """Say how the second version differs from the first."""
    if found is None:
        return INCOMPARABLE.format(fewest=FEWEST)
    labels = f"{found.n_second:,} and {found.n_first:,}"
    said = (PAIRED if found.paired else COMPARED).format(
        days=counted(found.days, "day"),
        labels=counted(found.n_first, "image") if found.paired else labels,
        second=found.second,
        first=found.first,
        accuracy=found.accuracy.in_points,
        cases=found.from_cases.in_points,
        gap=found.gap.in_points,
    )
    if found.group is not None:
        alone = found.group
        said += IN_GROUP.format(
            group=group_words(alone.group, OF_CLASSES),
            labels=f"{alone.n_second:,} and {alone.n_first:,}",
            gap=alone.gap.in_points,
        )
    if not found.worse:
        return said
    named = [f"{_slice(each.name)}: {each.accuracy.in_points}" for each in found.worse[:_NAMED]]
    return f"{said} {WORSE.format(second=found.second, slices=listed(named))}"


def card_comparison_words(found: CardComparison | None) -> str:
    """Say how the second card differs from the first."""
    if found is None:
        return CARDS_INCOMPARABLE
    if found.accuracy is None:
        figures = f"probability minus presence {found.gap.in_points}"
    else:
        gap, accuracy = found.gap.in_points, found.accuracy.in_points
        figures = f"accuracy {accuracy}; confidence minus accuracy {gap}"
    figures = f"{figures}; ECE {found.ece.in_points}"
    n = counted(found.n, "answer")
    return CARDS_COMPARED.format(n=n, second=found.second, first=found.first, figures=figures)


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
    both = (one, other)
    return LiveComparison(
        first,
        second,
        days,
        audit,
        False,
        one.total,
        other.total,
        accuracy_difference(both, worth=worth),
        confidence_difference(both, worth=worth),
        gap_difference(both, worth=worth),
    )
