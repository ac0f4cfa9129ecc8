"""The diagnosis of a version: labels, watch, age and selection together."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from calibration.diagnosis.facts import Inference, Open
from calibration.diagnosis.planner import APART, open_questions
from monitoring.diagnosis.accuracy import find_accuracy
from monitoring.diagnosis.actions import plan
from monitoring.diagnosis.coverage import LabelCoverage, find_unchecked, read_coverage
from monitoring.diagnosis.detectors import active_alarms
from monitoring.diagnosis.early_signs import find_early_signs
from monitoring.diagnosis.facts import Basis, Diagnosis
from monitoring.diagnosis.reading import Inferred, read_inferred
from monitoring.diagnosis.state import FEW_AUDITED, Findings, certainty_of, decide
from monitoring.drift import events, watch
from monitoring.drift.watch import Watched
from monitoring.feedback.discordance import read_other_labels
from monitoring.ledger.database import Ledger
from monitoring.ledger.day_sums import DaySums, read_day_sums
from monitoring.ledger.predictions import first_id
from monitoring.ledger.schema import DAY_NS, EVERYTHING, prediction
from monitoring.ledger.sum_tables import AUDIT
from monitoring.ledger.version_events import promotions
from monitoring.ledger.watched_version import WatchedVersion

_DAY_S = DAY_NS / 1e9


class Grounds(NamedTuple):
    """What a report and its diagnosis rest on: the events of a version and of its tags, all its
    watches, what its answers say, and the day sums of all answers and of the audit.
    """

    history: Sequence[events.Event]
    watches: Sequence[Watched]
    inferred: Inferred
    sums: Mapping[str, DaySums]


def read_grounds(ledger: Ledger, connection: Connection, row: WatchedVersion) -> Grounds:
    key = row.watched_version_id
    history, watches = events.read_all(connection, key), watch.load_all(connection, key)
    inferred = read_inferred(ledger, connection, row)
    return Grounds(history, watches, inferred, read_day_sums(connection, key, EVERYTHING, AUDIT))


def diagnose(
    connection: Connection,
    row: WatchedVersion,
    grounds: Grounds,
    *,
    now_ns: int,
    gap: float | None = None,
) -> Diagnosis:
    """Diagnose a version as of `now_ns`; `gap`: what open questions ask for, by default what is
    worth knowing.
    """
    key = row.watched_version_id
    history, watches, inferred, sums = grounds
    rhythm, now_s = inferred.rhythm, now_ns / 1e9
    coverage = read_coverage(
        connection,
        key,
        sums[EVERYTHING],
        due_s=min(now_s, _ends_s(sums[EVERYTHING])) - rhythm.delay_s,
        recent_s=rhythm.labels_s,
    )
    basis = _basis(connection, row, grounds, coverage)
    found = Findings(
        inference=inferred.inference,
        lower=inferred.operating.lower,
        basis=basis,
        rhythm=rhythm,
        alarms=active_alarms(watches, history),
        unchecked=find_unchecked(coverage),
        early_signs=find_early_signs(connection, row, history, now_ns=now_ns),
        other_labels=read_other_labels(connection, key, class_count=len(row.classes)),
        now_s=now_s,
    )
    state, reasons = decide(found)
    accuracy = find_accuracy(connection, row, sums, coverage, worth=inferred.inference.worth)
    return Diagnosis(
        model=row.model,
        version=row.version,
        finding=row.finding,
        generated_s=now_s,
        state=state,
        reasons=reasons,
        certainty=certainty_of(found, state),
        basis=basis,
        bounds=inferred.inference.bounds,
        hidden=coverage.hidden(audit=basis.audited >= FEW_AUDITED),
        alarms=found.alarms,
        deviations=inferred.inference.deviations,
        rivals=inferred.inference.rivals,
        unchecked=found.unchecked,
        accuracy=accuracy,
        operating_points=inferred.operating,
        early_signs=found.early_signs,
        remedies=inferred.inference.remedies,
        other_labels=found.other_labels,
        open=_questions(inferred.inference, gap),
        actions=plan(
            found,
            state,
            reasons,
            accuracy,
            version=row.version,
            earlier=_earlier(connection, row),
            published=_published(history),
            served_elsewhere=row.is_logged,
        ),
    )


def _ends_s(everything: DaySums) -> float:
    """When the last day ended on which answers were served: labels of later ones are not due."""
    return (max(everything.served_by_day(), default=math.inf) + 1) * _DAY_S


def _questions(inference: Inference, gap: float | None) -> tuple[Open, ...]:
    if gap is None:
        return inference.open
    apart = [each for each in inference.open if each.kind == APART]
    return (*apart, *open_questions(inference.questions, gap=gap))


def _basis(
    connection: Connection, row: WatchedVersion, grounds: Grounds, coverage: LabelCoverage
) -> Basis:
    inferred = grounds.inferred
    everything, audit = (grounds.sums[name] for name in (EVERYTHING, AUDIT))
    first, last = _times(connection, row.watched_version_id, [*everything.served_by_day()])
    whole, missing = everything.added(), coverage.whole.missing
    return Basis(
        served=int(whole.served.sum()),
        labels=whole.labeled.total,
        read=inferred.inference.labels,
        audited=audit.added().labeled.total,
        audit_missing=coverage.audit.missing,
        coverage=1.0 if math.isnan(missing) else 1 - missing,
        first_served_s=first,
        last_served_s=last,
        labels_until_s=inferred.labels_until_s,
        last_label_s=inferred.last_label_s,
        patient_correlation=inferred.inference.patient_correlation,
        clock=inferred.clock,
    )


def _times(connection: Connection, key: int, days: Sequence[int]) -> tuple[float, float]:
    """When the oldest and the newest answer were served; days where single answers are gone."""
    if not days:
        return math.nan, math.nan
    first, last = days[0], days[-1]
    newest = connection.scalar(
        select(prediction.c.served_at_ns)
        .where(
            prediction.c.watched_version_id == key,
            prediction.c.prediction_id >= first_id((last - 1) * DAY_NS),
        )
        .order_by(prediction.c.prediction_id.desc())
        .limit(1)
    )
    return first * _DAY_S, newest / 1e9 if newest else last * _DAY_S


def _published(history: Sequence[events.Event]) -> int | None:
    """The version that a recalibration since the active alarm has published."""
    details = [each.detail for each in events.since_alarm(history, events.RECALIBRATED)]
    return next((each["version"] for each in details[::-1] if each.get("version")), None)


def _earlier(connection: Connection, row: WatchedVersion) -> int | None:
    """The version that was in production before this one; None if there was none."""
    before = promotions(connection, row)
    if row.version not in before:
        return None
    place = len(before) - 1 - before[::-1].index(row.version)
    others = [version for version in before[:place] if version != row.version]
    return others[-1] if others else None
