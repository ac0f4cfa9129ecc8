"""The labeled answers that a recalibration is fitted on."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, func, literal_column, select

from calibration.calibrators.subgroups import SMALLEST, log_probabilities
from calibration.diagnosis.facts import AnswerGroup
from calibration.measures.metrics import gap_interval, last_decimal
from model_store.bundle.card import Card
from monitoring.diagnosis.facts import Action
from monitoring.drift import watch
from monitoring.errors import QueryInvalid, RecalibrationRefused, brief
from monitoring.ledger.schema import IS_LABELED, feedback, prediction
from monitoring.ledger.versions import card_sha256, of_model
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.recalibration.claims import CLASSES, MeasuredClaim, claim_of
from monitoring.recalibration.subgroup import LATEST_NS, belongs, name_of, served_in

COMPLETE = 0.98  # of the answers have a label: their choice can no longer explain much
MUCH_MISSING = 0.2  # of an audit's labels: above it, it may be as biased as any choice


@dataclass(frozen=True)
class AnswerFilter:
    """The labeled answers to fit on: those that meet every condition, by default all.

    Attributes:
        since_ns: served at or after this time.
        last: of the remaining answers, the N whose first label arrived last. Where the drift watch
            uses audited answers only, audited ones are counted, as the watch counts them.
        prediction_ids: only these, 16 bytes each.
        until_feedback_id: whose first label is this one or came before it. So what was looked at
            can be done later, although labels keep arriving.
        group: with these tags.
    """

    since_ns: int | None = None
    last: int | None = None
    prediction_ids: Collection[bytes] | None = None
    until_feedback_id: int | None = None
    group: AnswerGroup | None = None


def read_since(text: str) -> int:
    """Read a day or time (UTC) as nanoseconds since 1970. Raises QueryInvalid.

    >>> read_since("1970-01-02"), read_since("1970-01-01T00:00:01")
    (86400000000000, 1000000000)
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise QueryInvalid(
            f"Got the start {brief(text)}; expected a day such as 2026-10-01, or a time such as "
            "2026-10-01T09:30:00 (UTC)."
        ) from None
    at_s = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    return min(max(at_s, 0) * 10**9, LATEST_NS)


def options_of(action: Action) -> dict[str, str]:
    """Return the options, by their names on the page, of the recalibration that an action means."""
    given = {} if action.group is None else {"subgroup": name_of(action.group)}
    if action.since_s is not None:
        given["since"] = f"{datetime.fromtimestamp(int(action.since_s), UTC):%Y-%m-%dT%H:%M:%S}"
    return given | ({"allow_label_changes": "yes"} if action.changes_labels else {})


@dataclass(frozen=True)
class LabeledAnswers:
    """Served answers with their labels, in the order in which they were served.

    Attributes:
        watched_version_id: in the ledger.
        probabilities: (N, K), as served.
        labels: (N,).
        weights: (N,), 1 / the probability of the audit draw; None if the answers are not an audit.
        groups: (N,), numbers of patients; an answer without one is a patient of its own. None if no
            answer names one.
        tags: (N,), as in the ledger.
        served_since_ns: when the earliest of them was served.
        coverage: share with a label of the answers that could be here: served between the first and
            the last of these and, if they are an audit, drawn for it. NaN without answers.
        until_feedback_id: the last of their first labels; 0 without answers.
        aside: how many labels of the version are no truths (proxies, second readings, ignored), so
            that none of them is here.
        claim: what they claim.
        smallest: probabilities below it count as this: a quarter of the last decimal of rounded
            ones, so that a logged 0.00 is not taken for certainty.
    """

    watched_version_id: int
    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64] | None
    groups: npt.NDArray[np.int64] | None
    tags: tuple[str | None, ...]
    served_since_ns: int | None
    coverage: float = math.nan
    until_feedback_id: int = 0
    aside: int = 0
    claim: MeasuredClaim = CLASSES
    smallest: float = SMALLEST

    @property
    def are_fair(self) -> bool:
        """Whether the choice of the labels explains little.

        Nearly all answers have one; or, of an audit, four in five of those drawn, and those that
        have none cannot explain the difference between confidence and accuracy.
        """
        if self.weights is None or not self.coverage >= 1 - MUCH_MISSING:
            return self.coverage >= COMPLETE
        confidence, right = self.claim.stated(self.probabilities, self.labels)
        gaps, mean = confidence - right, float(confidence.mean())
        gap = float(gaps.mean())
        interval = gap_interval(gap, mean, float(gaps.var()), len(gaps))
        sure = not interval.lower <= 0 <= interval.upper
        return not (sure and missing_explain(gap, mean, 1 - self.coverage))

    def logits(self) -> npt.NDArray[np.float64]:
        """Return (N, K) logits / T, up to one constant per row."""
        return log_probabilities(self.probabilities, smallest=self.smallest)

    def part(self, chosen: npt.NDArray[np.bool_]) -> "LabeledAnswers":
        """Return the answers where `chosen` (N,) is True."""
        return replace(
            self,
            probabilities=self.probabilities[chosen],
            labels=self.labels[chosen],
            weights=None if self.weights is None else self.weights[chosen],
            groups=None if self.groups is None else self.groups[chosen],
            tags=tuple(compress(self.tags, chosen)),
        )


def missing_explain(gap: float, mean_confidence: float, missing: float) -> bool:
    """Whether missing labels can explain a signed gap; `missing`: their share in [0, 1].

    They can if the gap would be gone with all of them wrong (gap below 0) or right (above), and as
    confident as the others.

    >>> missing_explain(-0.15, 0.75, 0.18), missing_explain(0.15, 0.75, 0.18)
    (True, False)
    """
    of_missing = mean_confidence - (1.0 if gap > 0 else 0.0)
    return missing > 0 and ((1 - missing) * gap + missing * of_missing > 0) is not (gap > 0)


def labeled_answers(
    connection: Connection, card: Card, answer_filter: AnswerFilter, *, min_labels: int = 1
) -> LabeledAnswers:
    """Read the labeled answers of a card; only audited ones if `min_labels` are labeled.

    Raises RecalibrationRefused if the card never served with this ledger.
    """
    watched = [row for row in of_model(connection, card.name) if _has_card(row, card)]
    if not watched:
        raise RecalibrationRefused(
            f"The ledger has no answers of {card.name} version {card.version} with the card in the "
            "store. Serve this version first, or log its answers with its card as 'bundle_card'."
        )
    version = watched[0]
    watched_version_id = version.watched_version_id
    rows = _rows(connection, watched_version_id, answer_filter)
    audited = [row for row in rows if row.audit is not None]
    state = watch.load(connection, watched_version_id)
    if state is not None and state.settings.audit and len(audited) >= max(min_labels, 1):
        rows = audited
    if answer_filter.last is not None:
        rows = rows[-answer_filter.last :] if answer_filter.last > 0 else []
    audited = [row for row in rows if row.audit is not None]
    if len(audited) >= max(min_labels, 1):
        rows = audited
    is_audit = rows is audited
    # as the diagnosis reads them, so that both try a remedy on the same folds
    rows = sorted(rows, key=lambda row: (row.served_at_ns, -row.first_feedback_id))
    probabilities = _probabilities(version, rows)
    return LabeledAnswers(
        watched_version_id=watched_version_id,
        probabilities=probabilities,
        smallest=max(last_decimal(probabilities) / 4, SMALLEST),
        labels=np.array([row.label for row in rows], dtype=np.int64),
        weights=np.array([1 / row.audit for row in rows]) if is_audit else None,
        groups=_patients(rows),
        tags=tuple(row.tags for row in rows),
        served_since_ns=rows[0].served_at_ns if rows else None,
        coverage=_coverage(
            connection, watched_version_id, rows, audited=is_audit, group=answer_filter.group
        ),
        until_feedback_id=max((row.first_feedback_id for row in rows), default=0),
        aside=_count_aside(connection, watched_version_id),
        claim=claim_of(card),
    )


def _has_card(row: WatchedVersion, card: Card) -> bool:
    """Whether a version answers with this card: here, or elsewhere, declared by it."""
    if not row.is_logged:
        return row.card_sha256 == card_sha256(card)
    same = (row.version, row.finding) == (card.version, claim_of(card).finding)
    return same and row.card["calibration"] == card.calibration.model_dump(mode="json")


def _probabilities(version: WatchedVersion, rows: Sequence[Any]) -> npt.NDArray[np.float64]:
    names = ("confidence", "probabilities")
    found = version.all_probabilities(
        {name: [getattr(row, name) for row in rows] for name in names}
    )
    if found is None:
        raise RecalibrationRefused("Some labeled answers were logged without all probabilities.")
    return found


def _count_aside(connection: Connection, watched_version_id: int) -> int:
    aside = select(func.count()).where(
        feedback.c.watched_version_id == watched_version_id,
        feedback.c.counts_as > literal_column("0"),  # as the index has it
    )
    return connection.scalar(aside) or 0


def _rows(
    connection: Connection, watched_version_id: int, answer_filter: AnswerFilter
) -> Sequence[Any]:
    columns = prediction.c
    wanted = (
        select(
            columns.prediction_id,
            columns.confidence,
            columns.probabilities,
            columns.served_at_ns,
            columns.patient,
            columns.tags,
            columns.audit,
            columns.label,
            columns.first_feedback_id,
        )
        .where(columns.watched_version_id == watched_version_id, IS_LABELED)
        .order_by(columns.first_feedback_id)
    )
    if answer_filter.since_ns is not None:
        wanted = wanted.where(columns.served_at_ns >= answer_filter.since_ns)
    if answer_filter.until_feedback_id is not None:
        wanted = wanted.where(columns.first_feedback_id <= answer_filter.until_feedback_id)
    rows = connection.execute(wanted).all()
    if answer_filter.prediction_ids is not None:
        chosen = frozenset(answer_filter.prediction_ids)
        rows = [row for row in rows if row.prediction_id in chosen]
    if answer_filter.group is not None:
        rows = [row for row in rows if belongs(row.tags, answer_filter.group)]
    return rows


def _coverage(
    connection: Connection,
    watched_version_id: int,
    rows: Sequence[Any],
    *,
    audited: bool,
    group: AnswerGroup | None,
) -> float:
    """Return the share of `rows` among the answers of their time that could be among them."""
    if not rows:
        return math.nan
    times = [row.served_at_ns for row in rows]
    if group is not None:
        span = {"since_ns": min(times), "until_ns": max(times)}
        found = served_in(connection, watched_version_id, group, **span)
        return len(rows) / sum(not audited or row.audit is not None for row in found)
    columns = prediction.c
    possible = select(func.count()).where(
        columns.watched_version_id == watched_version_id,
        columns.served_at_ns.between(min(times), max(times)),
    )
    if audited:
        possible = possible.where(columns.audit.is_not(None))
    return len(rows) / (connection.scalar(possible) or len(rows))


def _patients(rows: Sequence[Any]) -> npt.NDArray[np.int64] | None:
    """Return the (N,) patients as numbers, those of unknown ones apart; None if all are unknown."""
    known = np.array([row.patient is not None for row in rows], dtype=bool)
    if not known.any():
        return None
    hashes = np.array([row.patient or 0 for row in rows], dtype=np.int64)
    numbers = np.unique(hashes, return_inverse=True)[1]
    return np.where(known, numbers, len(rows) + np.arange(len(rows)))
