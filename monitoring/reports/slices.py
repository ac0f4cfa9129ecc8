"""Figures by predicted class, by the caller's tags, and, for information, by true class.

The diagnosis says which of them are affected; these are what to look up. The true class is not
known when the model answers: a calibrated model that misses some of the ill is right less often
than its confidence among the truly ill, and more often among the truly healthy. By true class the
figures show recall, not calibration.

Doubtful answers, with a p-value of the scope check up to the card's alpha, have their share by day
and tag beside the card's promise, and the calibration with and without them. Nothing is said about
images that the check does not flag. NLL and Brier score need whole probabilities, which the ledger
keeps with each answer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import Connection, select

from calibration.measures import metrics
from calibration.measures.summary import Measures
from monitoring.drift.scope_watch import find_evidence
from monitoring.ledger.days import DoubtfulDay, DoubtfulTag, doubtful_days, doubtful_tags
from monitoring.ledger.schema import DAY_NS, IS_LABELED, prediction
from monitoring.ledger.sum_tables import DOUBTFUL
from monitoring.ledger.sums import LedgerSums, read_sums
from monitoring.ledger.watched_version import WatchedVersion

_TRUE, _KNOWN = "true:", ("predicted:", "tag:")


@dataclass(frozen=True)
class Slice:
    """One slice.

    Attributes:
        name: `predicted:<class>`, `tag:<key>=<value>` or `true:<class>`.
        served: answers, labeled or not; 0 by true class, which is known only from labels.
        n: labeled answers.
        signed_gap: mean confidence minus accuracy; `gap_lower`, `gap_upper`: its interval; those
            of one table hold all together, with 95 % (Bonferroni).
    """

    name: str
    served: int
    n: int
    accuracy: float
    mean_confidence: float
    ece: float
    noise_floor: float
    signed_gap: float
    gap_lower: float
    gap_upper: float


@dataclass(frozen=True)
class Slices:
    """The slices of a window. `known`, known when the model answers: largest sure gap first."""

    known: tuple[Slice, ...]
    by_true_class: tuple[Slice, ...]


def measure_slices(sums: Mapping[str, LedgerSums], *, worth: float) -> Slices:
    """Measure slices by name; other names are ignored. `worth`: how many independent labels one is
    worth, in (0, 1].
    """
    known = _measured({name: sums[name] for name in sums if name.startswith(_KNOWN)}, worth)
    true = {n: each for n, each in sums.items() if n.startswith(_TRUE) and each.labeled.total}
    by_true = _measured(true, worth)
    return Slices(
        tuple(sorted(known, key=_least_sure)), tuple(sorted(by_true, key=lambda each: each.name))
    )


def _measured(sums: Mapping[str, LedgerSums], worth: float) -> list[Slice]:
    """The slices of a table, with intervals that hold for all of them together."""
    looks = sum(each.labeled.total > 0 for each in sums.values())
    level = 1 - 0.05 / max(looks, 1)
    return [measure_slice(*each, worth=worth, level=level) for each in sums.items()]


def _least_sure(each: Slice) -> tuple[float, str]:
    sure = max(each.gap_lower, -each.gap_upper) if math.isfinite(each.gap_lower) else -math.inf
    return -sure, each.name


def measure_slice(name: str, sums: LedgerSums, *, worth: float = 1.0, level: float = 0.95) -> Slice:
    labeled = sums.labeled
    gap = metrics.signed_gap_interval(labeled, level=level, worth=worth)
    return Slice(
        name=name,
        served=int(sums.served.sum()),
        n=labeled.total,
        accuracy=metrics.accuracy(labeled),
        mean_confidence=metrics.mean_confidence(labeled),
        ece=metrics.ece(labeled),
        noise_floor=metrics.noise_floor(labeled),
        signed_gap=metrics.signed_gap(labeled),
        gap_lower=gap.lower,
        gap_upper=gap.upper,
    )


LATEST = 5_000  # labels at most, so that the cost of a report stays bounded


def with_scores(
    measures: Measures,
    connection: Connection,
    row: WatchedVersion,
    since_day: int | None,
    *,
    audit: bool,
) -> Measures:
    """Return the measures with the scores of a window's latest `LATEST` current labels.

    Logged predictions that came without all probabilities have none, and are left out. `audit`:
    whether audited answers alone count.
    """
    columns = (prediction.c.confidence, prediction.c.probabilities, prediction.c.label)
    mine = prediction.c.watched_version_id == row.watched_version_id
    wanted = select(*columns).where(mine, IS_LABELED)
    if since_day is not None:
        wanted = wanted.where(prediction.c.served_at_ns >= since_day * DAY_NS)
    if audit:
        wanted = wanted.where(prediction.c.audit.is_not(None))
    rows = connection.execute(
        wanted.order_by(prediction.c.first_feedback_id.desc()).limit(LATEST)
    ).all()
    given = ((row.probabilities(answer), answer.label) for answer in rows)
    known = [(p, label) for p, label in given if len(p) == len(row.classes)]
    if not known:
        return measures
    probabilities, labels = (np.array(each) for each in zip(*known, strict=True))
    return replace(
        measures, nll=metrics.nll(probabilities, labels), brier=metrics.brier(probabilities, labels)
    )


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
