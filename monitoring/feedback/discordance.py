"""How far other labels agree with the truth: of each proxy source, and of second readings.

Facts for reports. The latest LABELS_LIMIT labels of a version that count as no truth are looked at.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, literal_column, select

from calibration.intervals.confidence_sequence import share_interval
from calibration.measures.estimates import IntervalEstimate
from monitoring.ledger.schema import CORRECT, feedback, prediction
from monitoring.ledger.watched_version import CountsAs

LABELS_LIMIT: Final = 100_000


@dataclass(frozen=True)
class Discordance:
    """Answers that have a truth and another label.

    Attributes:
        n: number of such answers.
        same: of them, those with the same label.
        says_wrong: where the truth says that the model was right, and the other label says wrong.
        says_right: where the truth says that it was wrong, and the other label says right.
        agreement: same / n; NaN without such answers.
    """

    n: int
    same: int
    says_wrong: int
    says_right: int
    agreement: float


@dataclass(frozen=True)
class ProxySource:
    """The labels of one proxy source, `source`.

    Attributes:
        answers: how many answers have one; `alone`: those of them without a truth.
        discordance: where both exist.
    """

    source: str
    answers: int
    alone: int
    discordance: Discordance


@dataclass(frozen=True)
class SecondReadings:
    """Answers that two readers labeled; of several second readers, the first counts.

    Attributes:
        discordance: of the second reader with the current truth.
        different: pairs in which the second reader and the first one differ.
        error_rate: of a single reading, if readers err independently and equally often; the
            estimate is NaN without pairs.
    """

    discordance: Discordance
    different: int
    error_rate: IntervalEstimate


@dataclass(frozen=True)
class OtherLabels:
    """All labels of a version that are kept beside the truths.

    `ignored`, `uncertain`: how many labels; `looked_at_all`: False if there are more than
    LABELS_LIMIT.
    """

    proxies: tuple[ProxySource, ...]
    second_readings: SecondReadings
    ignored: int
    looked_at_all: bool
    uncertain: int = 0


def read_other_labels(
    connection: Connection, watched_version_id: int, *, class_count: int
) -> OtherLabels:
    """Compare the labels of a version that are no truths with those that are."""
    rows = connection.execute(_wanted(watched_version_id)).all()
    by_kind: dict[int, list[Any]] = defaultdict(list)
    for row in reversed(rows):  # oldest first
        by_kind[row.counts_as].append(row)
    proxies: dict[str, dict[bytes, Any]] = defaultdict(dict)
    for row in by_kind[CountsAs.PROXY]:
        proxies[row.source][row.prediction_id] = row  # the latest of an answer
    return OtherLabels(
        tuple(_proxy(source, list(proxies[source].values())) for source in sorted(proxies)),
        _second_readings(by_kind[CountsAs.SECOND_READING], class_count),
        len(by_kind[CountsAs.IGNORED]),
        len(rows) < LABELS_LIMIT,
        len(by_kind[CountsAs.UNCERTAIN]),
    )


def _wanted(watched_version_id: int) -> Any:
    """Select these labels, the latest first, each with its answer's truth and first truth."""
    first = feedback.alias("first")
    answer = prediction.c
    return (
        select(
            *(feedback.c[name] for name in ("prediction_id", "counts_as", "source", "reader")),
            *(feedback.c.label, feedback.c.correct, answer.confidence),
            answer.label.label("truth"),
            CORRECT.label("truth_correct"),
            first.c.label.label("first"),
        )
        .join(prediction, answer.prediction_id == feedback.c.prediction_id)
        .outerjoin(first, first.c.feedback_id == answer.first_feedback_id)
        .where(
            feedback.c.watched_version_id == watched_version_id,
            feedback.c.counts_as > literal_column("0"),  # as the index has it
        )
        .order_by(feedback.c.feedback_id.desc())
        .limit(LABELS_LIMIT)
    )


def _proxy(source: str, rows: Sequence[Any]) -> ProxySource:
    both = [row for row in rows if row.truth is not None]
    return ProxySource(source, len(rows), len(rows) - len(both), _discordance(both))


def _second_readings(rows: Iterable[Any], class_count: int) -> SecondReadings:
    readers: dict[bytes, str] = {}
    pairs: dict[bytes, Any] = {}
    for row in rows:
        if (
            row.truth is not None
            and readers.setdefault(row.prediction_id, row.reader) == row.reader
        ):
            pairs[row.prediction_id] = row  # their latest
    different = sum(row.label != row.first for row in pairs.values())
    n = len(pairs)
    lower, upper = (error_of(share, class_count) for share in share_interval(n, different))
    error = error_of(different / n, class_count) if n else math.nan
    return SecondReadings(
        _discordance(list(pairs.values())), different, IntervalEstimate(error, lower, upper)
    )


def error_of(different: float, classes: int) -> float:
    """Return the error rate e of a single reading if two differ in this share of answers.

    Two readers err independently, each with rate e and equally towards every other class. They
    agree with probability (1 - e)^2 + e^2 / (K - 1), which is solved for e.

    >>> error_of(0.095, 2)  # 2 * 0.05 * 0.95
    0.05
    """
    most = (classes - 1) / classes
    return round(most * (1 - math.sqrt(max(1 - different / most, 0.0))), 12)


def _discordance(rows: Sequence[Any]) -> Discordance:
    n, same = len(rows), sum(row.label == row.truth for row in rows)
    says_wrong = sum(row.truth_correct > row.correct for row in rows)
    says_right = sum(row.truth_correct < row.correct for row in rows)
    return Discordance(n, same, says_wrong, says_right, same / n if n else math.nan)
