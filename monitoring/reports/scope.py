"""Doubtful answers in a report: their share by day and tag beside the card's promise, and the
calibration with and without them.

A doubtful image has a p-value of the scope check up to the card's alpha. Nothing is said about
images that the check does not flag.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from monitoring.drift.scope_watch import find_evidence
from monitoring.ledger.scope import DoubtfulDay, DoubtfulTag, doubtful_days, doubtful_tags
from monitoring.ledger.sum_tables import DOUBTFUL
from monitoring.ledger.sums import LedgerSums, read_sums
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.reports.slices import Slice, measure_slice


@dataclass(frozen=True)
class DoubtfulAnswers:
    """Doubtful answers of a window's days.

    Attributes:
        alpha: of the card; `lower`, `upper`: between which shares of in-scope images are flagged.
        answers: all of them; `doubtful`: how many were.
        alarm: the UTC day since 1970 that raised the alarm of doubtful images; None without one.
        by_day, by_tag: the same by UTC day since 1970, and by tag, the largest share first.
        flagged, others: the calibration of doubtful answers and of all others.
    """

    alpha: float
    lower: float
    upper: float
    answers: int
    doubtful: int
    alarm: int | None
    by_day: tuple[DoubtfulDay, ...]
    by_tag: tuple[DoubtfulTag, ...]
    flagged: Slice
    others: Slice


def find_doubtful(
    connection: Connection, row: WatchedVersion, *, since_day: int | None, now_ns: int
) -> DoubtfulAnswers | None:
    """Return the doubtful answers since a day; None if the graph has no scope check."""
    scope = row.card.get("scope")
    if not scope:
        return None
    evidence = find_evidence(connection, row, now_ns=now_ns)
    key, promised = row.watched_version_id, scope["flagged"]
    everything = read_sums(connection, key, since_day=since_day)
    flagged = read_sums(connection, key, slice=DOUBTFUL, since_day=since_day)
    others = LedgerSums(
        everything.labeled - flagged.labeled,
        everything.served - flagged.served,
        everything.served_confidence - flagged.served_confidence,
    )
    return DoubtfulAnswers(
        alpha=scope["alpha"],
        lower=promised["lower"],
        upper=promised["upper"],
        answers=int(everything.served.sum()),
        doubtful=int(flagged.served.sum()),
        alarm=evidence.raised_on if evidence else None,
        by_day=tuple(doubtful_days(connection, row, since_day=since_day or 0)),
        by_tag=tuple(doubtful_tags(connection, row, since_day=since_day or 0)),
        flagged=measure_slice(DOUBTFUL, flagged),
        others=measure_slice("scope:in", others),
    )
