"""The calibration report: a model's live measures from the ledger's sums, beside those of its card.

All windows except `last:N` are read from day sums, so a report over ten million answers costs as
much as one over ten thousand.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from calibration.measures.reliability import ReliabilityBin, reliability
from calibration.measures.summary import Measures
from monitoring.diagnosis.diagnosis import diagnose
from monitoring.diagnosis.facts import Diagnosis
from monitoring.drift import events
from monitoring.errors import ModelNeeded
from monitoring.findings.accuracy import AccuracyVerdict, find_accuracy
from monitoring.findings.answer_warning import find_answer_warning
from monitoring.findings.comparison import CardComparison, compare
from monitoring.findings.drift import Drift, TagWatches, find_drift, find_tag_watches
from monitoring.findings.earlier_labels import earlier_labels
from monitoring.findings.early_warnings import (
    RECENT_DAYS,
    EarlyWarning,
    find_early_warnings,
    served_by_class,
)
from monitoring.findings.expected_performance import ExpectedPerformance, find_expected_performance
from monitoring.findings.findings import Findings
from monitoring.findings.image_warnings import find_image_warnings
from monitoring.findings.label_basis import find_label_basis
from monitoring.findings.looks import CalmEvidence, GapAtEveryLook, calm_evidence, gap_at_every_look
from monitoring.findings.probability_scores import with_scores
from monitoring.findings.recalibrations import last_recalibration
from monitoring.findings.recommendation import Recommendation, recommend
from monitoring.findings.selection import LabelSelection
from monitoring.findings.slices import Slices, find_slices
from monitoring.findings.status import Status, assess
from monitoring.findings.timeline import TimelineEntry, as_entry, told
from monitoring.findings.windows import ALL, Windowed, read_window, window_sums
from monitoring.http.json_body import plain
from monitoring.ledger.database import Ledger
from monitoring.ledger.inputs import read_inputs
from monitoring.ledger.schema import DAY_NS, feedback, label_current, prediction
from monitoring.ledger.versions import WatchedVersion, choose, models, of_model

_DELAY_SAMPLE = 500  # the latest labels, from which the delay is estimated
_EVENTS = 20  # the latest events in a report


@dataclass(frozen=True)
class Coverage:
    """Answers served, answers with a label, and their ratio (NaN if nothing was served)."""

    served: int
    labeled: int
    ratio: float


@dataclass(frozen=True)
class Delay:
    """Seconds from answer to first label over the latest labels; NaN without labels."""

    median_s: float
    p90_s: float


@dataclass(frozen=True)
class ReportSummary:
    """The calibration of one version in the ledger, without bins, slices and history.

    Attributes:
        verdict: the assessment in sentences: can confidence be believed?
        accuracy: is the model as accurate as it was? Over all labels of the version, whatever the
            window.
        measures: of the window's labeled answers, of audited ones only where the audit decides.
        reference: the card's measures of the same names.
        comparison: live against reference, and whether the difference is significant.
        expected_accuracy: mean confidence of all answers served on the window's days, labeled or
            not.
        expected_performance: what confidence alone expects of accuracy and of each class, beside
            what labels show.
        coverage: of the answers served on the window's days (`last:N`: on all days).
        delay: from answer to first label, over the latest labels regardless of the window.
        gap_at_every_look: the signed gap's confidence sequence; None in a window that moves.
        drift: the detector's state, which does not depend on the window.
        calm_evidence: where nine in ten calibrated models stand after as many labels; None below
            100 labels.
        tag_watches: the drift watches of tags; None if no tag is watched by itself.
        selection: how the labels were selected, and the measures of audited answers.
        signs: the early warnings, which need no labels.
        recommendation: should I be worried, why, and what to do.
        diagnosis: who is affected, since when, why, and what to do, as codes with numbers.
    """

    model: str
    version: int
    versions: tuple[int, ...]
    window: str
    generated_at_ns: int
    temperature: float
    status: Status
    verdict: str
    accuracy: AccuracyVerdict
    measures: Measures
    reference: dict[str, float | None]
    comparison: CardComparison
    expected_accuracy: float
    expected_performance: ExpectedPerformance
    coverage: Coverage
    delay: Delay
    gap_at_every_look: GapAtEveryLook | None
    drift: Drift | None
    calm_evidence: CalmEvidence | None
    tag_watches: TagWatches | None
    selection: LabelSelection
    signs: tuple[EarlyWarning, ...]
    recommendation: Recommendation
    diagnosis: Diagnosis

    @property
    def further_evidence(self) -> tuple[str, ...]:
        """The evidence that verdict and answer about accuracy do not state already."""
        said = f"{self.verdict} {self.accuracy.sentence}"
        return tuple(sentence for sentence in self.recommendation.evidence if sentence not in said)


@dataclass(frozen=True)
class ClassBins:
    """The bins of a reliability diagram of the answers that name one class."""

    name: str
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Report(ReportSummary):
    """The calibration of one version of a model as recorded in the ledger.

    Attributes:
        slices: over the window's days; None if they were not requested.
        history: the latest events of this version.
        bins: those of a reliability diagram.
        class_bins: the same for each predicted class; empty if slices were not requested.
    """

    slices: Slices | None
    history: tuple[TimelineEntry, ...]
    bins: tuple[ReliabilityBin, ...]
    class_bins: tuple[ClassBins, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with None for NaN and infinities."""
        fields: dict[str, Any] = plain(self)
        return fields

    def summary(self) -> ReportSummary:
        """Return the report without its bins, slices and history."""
        return ReportSummary(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(ReportSummary)}
        )


def calibration_report(
    ledger: Ledger,
    model: str,
    *,
    version: int | None = None,
    window: str = ALL,
    slices: bool = True,
) -> Report:
    """Report on a version of a model, by default the one registered last.

    Without `slices`, NLL and Brier score are left out too: both read single answers.

    Raises ModelNotInLedger for a model or version that was never registered, and QueryInvalid for
    an invalid window.
    """
    asked, now_ns = read_window(window), ledger.clock()
    with ledger.read() as connection:
        row = choose(connection, model, version)
        versions = {other.version for other in of_model(connection, model)}
        seen = window_sums(connection, row.watched_version_id, asked, now_ns=now_ns)
        history = events.read_all(connection, row.watched_version_id)
        whole = [event for event in history if not event.name]  # not of a tag
        drift = find_drift(connection, row.watched_version_id, whole)
        tag_watches = find_tag_watches(connection, row.watched_version_id, history)
        delay = _delay(connection, row.watched_version_id)
        basis = find_label_basis(connection, row, asked, seen, due_ns=_due_ns(delay, now_ns))
        early_warnings = _early_warnings(connection, row, seen, history, now_ns=now_ns)
        accuracy = find_accuracy(connection, row.watched_version_id, row.reference)
        served = int(seen.served.served.sum())
        expected = find_expected_performance(
            connection,
            row,
            since_day=seen.since_day,
            served=served,
            alarm=_alarm(drift, tag_watches),
            selection=basis.selection,
        )
        diagnosis = diagnose(ledger, connection, row, now_ns=now_ns)
        measures = Measures.from_sums(basis.labeled)
        if slices:
            audited = basis.selection.audit_decides
            measures = with_scores(measures, connection, row, asked, seen, audit=audited)
    found, selection = find_slices(basis.slices) if slices else None, basis.selection
    assessment = assess(measures, drift, selection, tag_watches.active if tag_watches else ())
    audited = selection.audit_decides
    if before := earlier_labels(whole, drift, labels=measures.n, window=asked, audited=audited):
        assessment = assessment._replace(sentence=f"{assessment.sentence} {before}")
    comparison = compare(basis.labeled, row.reference, selection.post_stratified)
    findings = Findings(
        row.model,
        assessment,
        measures,
        drift,
        comparison,
        selection,
        found,
        early_warnings,
        accuracy,
        served_elsewhere=row.is_logged,
        gap_at_every_look=gap_at_every_look(basis.labeled, asked),
        tag_watches=tag_watches,
        recalibration=last_recalibration(whole) if drift and drift.active else None,
        reference=Measures.from_sums(row.reference),
    )
    return Report(
        model=row.model,
        version=row.version,
        versions=tuple(sorted(versions)),
        window=window,
        generated_at_ns=now_ns,
        temperature=row.card["calibration"]["temperature"],
        status=assessment.status,
        verdict=assessment.sentence,
        accuracy=accuracy,
        measures=measures,
        reference=row.card["calibration"]["measures"],
        comparison=comparison,
        expected_accuracy=float(seen.served.served_confidence.sum()) / served
        if served
        else math.nan,
        expected_performance=expected,
        coverage=Coverage(served, seen.served.labeled.total, selection.coverage),
        delay=delay,
        gap_at_every_look=findings.gap_at_every_look,
        drift=drift,
        calm_evidence=calm_evidence(drift) if drift else None,
        tag_watches=tag_watches,
        selection=selection,
        signs=early_warnings,
        slices=found,
        history=tuple(as_entry(event) for event in told(history)[-_EVENTS:]),
        recommendation=recommend(findings),
        diagnosis=diagnosis,
        bins=tuple(reliability(basis.labeled)),
        class_bins=tuple(
            ClassBins(name, tuple(reliability(basis.slices[key].labeled)))
            for name in row.classes
            if slices and (key := f"predicted:{name}") in basis.slices
        ),
    )


def _alarm(drift: Drift | None, tag_watches: TagWatches | None) -> str | None:
    """Whose drift alarm is active, as `find_expected_performance` takes it."""
    if drift is not None and drift.active:
        return ""
    tags = [each.tag for each in tag_watches.active] if tag_watches else []
    return f" of {', '.join(tags)}" if tags else None


def only_model(ledger: Ledger) -> str:
    """Return the ledger's only model. Raises ModelNeeded if it has none or several."""
    with ledger.read() as connection:
        known = models(connection)
    if len(known) != 1:
        raise ModelNeeded(known)
    return known[0]


def _due_ns(delay: Delay, now_ns: int) -> int:
    """Answers served before this should have their labels."""
    return now_ns - (round(delay.p90_s * 1e9) if math.isfinite(delay.p90_s) else 0)


def _early_warnings(
    connection: Connection,
    row: WatchedVersion,
    seen: Windowed,
    history: Sequence[events.Event],
    *,
    now_ns: int,
) -> tuple[EarlyWarning, ...]:
    recent = served_by_class(connection, row, since_day=now_ns // DAY_NS - RECENT_DAYS + 1)
    ever = served_by_class(connection, row)
    before = {name: served - recent.get(name, 0) for name, served in ever.items()}
    found = (
        *find_early_warnings(seen.served, row.reference, recent, before),
        find_answer_warning(connection, row, history, now_ns=now_ns),
    )
    reference = row.card.get("input_reference")
    if reference is None:
        return found
    live = read_inputs(connection, row.watched_version_id, since_day=seen.since_day)
    return (*found, *find_image_warnings(live, reference))


def _delay(connection: Connection, watched_version_id: int) -> Delay:
    first = label_current.c.first_feedback_id
    wanted = (
        select(feedback.c.received_at_ns - prediction.c.served_at_ns)
        .select_from(label_current)
        .join(feedback, feedback.c.feedback_id == first)
        .join(prediction, prediction.c.prediction_id == label_current.c.prediction_id)
        .where(label_current.c.watched_version_id == watched_version_id)
        .order_by(first.desc())
        .limit(_DELAY_SAMPLE)
    )
    delays_s = np.array(connection.scalars(wanted).all(), dtype=np.float64) / 1e9
    if not delays_s.size:
        return Delay(math.nan, math.nan)
    median, p90 = np.quantile(np.maximum(delays_s, 0.0), [0.5, 0.9]).tolist()
    return Delay(median, p90)
