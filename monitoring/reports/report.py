"""The calibration report: a model's live measures from the ledger's sums.

Windows of days are read from day sums, so a report over ten million answers costs as much as one
over ten thousand.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
from sqlalchemy import Connection, select

from calibration.diagnosis.facts import AnswerGroup
from calibration.measures.reliability import ReliabilityBin, reliability
from calibration.measures.summary import Measures
from monitoring.diagnosis.audit import Deciding, find_deciding
from monitoring.diagnosis.coverage import NOW, first_day
from monitoring.diagnosis.detectors import (
    CalmEvidence,
    Drift,
    TagWatches,
    calm_evidence,
    find_drift,
    find_tag_watches,
)
from monitoring.diagnosis.diagnosis import diagnose, read_grounds
from monitoring.diagnosis.expected_performance import ExpectedPerformance, find_expected_performance
from monitoring.diagnosis.facts import Diagnosis
from monitoring.diagnosis.live_comparison import LiveComparison, compare_live
from monitoring.diagnosis.present import measured
from monitoring.errors import ModelNeeded
from monitoring.http.json_body import plain
from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import DAY_NS, EVERYTHING, IS_LABELED, feedback, prediction
from monitoring.ledger.version_events import promoted_version
from monitoring.ledger.versions import choose, models, of_model
from monitoring.ledger.watched_version import WatchedVersion, named, query_of, title_of
from monitoring.reports.slices import (
    DoubtfulAnswers,
    Slices,
    find_doubtful,
    measure_slices,
    with_scores,
)
from monitoring.reports.timeline import TimelineEntry, as_entry, told

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
        diagnosis: who is affected, since when, why, and what to do, as codes with numbers; over all
            labels of the version, whatever the window.
        since_s: in the window `now`, when the last change began that the diagnosis names, or ended;
            None if it names none, and in other windows.
        measures: of the window's labeled answers, of audited ones only if `audited`; since a change
            of those affected. `elsewhere`: then of all others, None if there are none.
        reference: the card's measures of the same names.
        expected_accuracy: mean confidence of all answers served on the window's days, labeled or
            not.
        expected_performance: what confidence alone expects of accuracy and of each class, beside
            what labels show, over the answers that the diagnosis rests on, whatever the window.
        coverage: of the answers served on the window's days.
        delay: from answer to first label, over the latest labels regardless of the window.
        drift: the detector's state, which does not depend on the window.
        calm_evidence: where nine in ten calibrated models stand after as many labels; None below
            100 labels.
        tag_watches: the drift watches of tags; None if no tag is watched by itself.
        finding: the one that the report is about; '' of a model with exclusive classes. Of a
            finding, confidence is the probability of presence and accuracy the share present.
    """

    model: str
    version: int
    finding: str
    versions: tuple[int, ...]
    window: str
    generated_at_ns: int
    temperature: float
    diagnosis: Diagnosis
    audited: bool
    since_s: float | None
    measures: Measures
    elsewhere: Measures | None
    reference: dict[str, float | None]
    expected_accuracy: float
    expected_performance: ExpectedPerformance
    coverage: Coverage
    delay: Delay
    drift: Drift | None
    calm_evidence: CalmEvidence | None
    tag_watches: TagWatches | None

    @property
    def title(self) -> str:
        """What the report is about: the model, and the finding if it is about one."""
        return title_of(self.model, self.finding)

    @property
    def suffix(self) -> str:
        """What follows the address of the model's page where the newest version is meant, but
        a finding has to be named.
        """
        return f"?{self.query}" if named(self.finding) else ""

    @property
    def reports(self) -> "tuple[ReportSummary, ...]":
        """What it consists of: itself."""
        return (self,)

    @property
    def named(self) -> dict[str, str]:
        """What names the version, or the finding of it, in an address."""
        return query_of(self.version, self.finding)

    @property
    def query(self) -> str:
        return urlencode(self.named)


@dataclass(frozen=True)
class ClassBins:
    """The bins of a reliability diagram of the answers that name one class."""

    name: str
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Report(ReportSummary):
    """The calibration of one version of a model as recorded in the ledger.

    Attributes:
        slices: over the window's days; since a change without the answers that it affects, where a
            slice has others; None if they were not requested.
        history: the latest events of this version.
        bins: those of a reliability diagram.
        class_bins: the same for each predicted class; empty if slices were not requested.
        doubtful: answers to images that are not like those that the model was made for, on the
            window's days; None without a scope check, or if slices were not requested.
    """

    slices: Slices | None
    history: tuple[TimelineEntry, ...]
    bins: tuple[ReliabilityBin, ...]
    class_bins: tuple[ClassBins, ...]
    doubtful: DoubtfulAnswers | None

    def as_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = plain(self)
        return fields

    def summary(self) -> ReportSummary:
        return ReportSummary(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(ReportSummary)}
        )


def calibration_report(
    ledger: Ledger,
    model: str,
    *,
    version: int | None = None,
    finding: str | None = None,
    window: str = NOW,
    slices: bool = True,
    gap: float | None = None,
) -> Report:
    """Report on a version of a model, by default the one in production.

    Before any version was promoted, it is the one registered last. Without `slices`, NLL and Brier
    score are left out too: both read single answers. `gap`: the diagnosis' open questions say how
    many labels would show one of that size.

    Raises ModelNotInLedger for a model or version that was never registered, and QueryInvalid for
    an invalid window. Raises FindingNeeded for a model with findings, and FindingUnknown.
    """
    with ledger.read() as connection:
        chosen = promoted_version(connection, model) if version is None else version
        row = choose(connection, model, chosen, finding)
        return report_on(ledger, connection, row, window=window, slices=slices, gap=gap)


def report_on(
    ledger: Ledger,
    connection: Connection,
    row: WatchedVersion,
    *,
    window: str = NOW,
    slices: bool = True,
    gap: float | None = None,
) -> Report:
    """Report on a version, or a finding of it, as `calibration_report` does."""
    now_ns = ledger.clock()
    since_day = first_day(window, now_ns=now_ns)
    key = row.watched_version_id
    versions = {other.version for other in of_model(connection, row.model, finding=row.finding)}
    grounds = read_grounds(ledger, connection, row)
    present = grounds.inferred.present if window == NOW else None
    if present is not None:
        since_day = int(present.since_s * 1e9 // DAY_NS)
    seen = grounds.sums[EVERYTHING].since(since_day).added()
    history = grounds.history
    whole = [event for event in history if not event.name]  # not of a tag
    drift = find_drift(row, grounds.watches, whole)
    deciding = (
        present.deciding
        if present
        else find_deciding(connection, row, grounds.sums, since_day, slices=slices)
    )
    diagnosis = diagnose(connection, row, grounds, now_ns=now_ns, gap=gap)
    worth = grounds.inferred.inference.worth
    measures = present.measures if present else measured(deciding.labeled, worth=worth)
    if slices and present is None:
        measures = with_scores(measures, connection, row, since_day, audit=deciding.audited)
    served, labeled = int(seen.served.sum()), seen.labeled.total
    return Report(
        model=row.model,
        version=row.version,
        finding=row.finding,
        versions=tuple(sorted(versions)),
        window=window,
        generated_at_ns=now_ns,
        temperature=row.card["calibration"]["temperature"],
        diagnosis=diagnosis,
        audited=deciding.audited,
        since_s=present.since_s if present else None,
        measures=measures,
        elsewhere=present.elsewhere if present else None,
        reference=row.card["calibration"]["measures"],
        expected_accuracy=float(seen.served_confidence.sum()) / served if served else math.nan,
        expected_performance=find_expected_performance(
            row,
            grounds.inferred.by_class,
            diagnosis=diagnosis,
            audit=deciding.audited,
            worth=worth,
        ),
        coverage=Coverage(served, labeled, labeled / served if served else math.nan),
        delay=_delay(connection, key),
        drift=drift,
        calm_evidence=calm_evidence(drift) if drift else None,
        tag_watches=find_tag_watches(grounds.watches, history),
        slices=measure_slices(deciding.slices, worth=worth) if slices else None,
        history=tuple(as_entry(event, row.finding) for event in told(history)[-_EVENTS:]),
        bins=tuple(reliability(deciding.labeled)),
        class_bins=_class_bins(row, deciding) if slices else (),
        doubtful=find_doubtful(connection, row, since_day=since_day, now_ns=now_ns)
        if slices
        else None,
    )


def compare_live_versions(
    ledger: Ledger,
    model: str,
    first: int,
    second: int,
    *,
    finding: str | None = None,
    group: AnswerGroup | None = None,
) -> LiveComparison | None:
    """Compare two versions live, also in a group; None if their labels cannot be compared.

    Raises ModelNotInLedger.
    """
    with ledger.read() as connection:
        rows = (choose(connection, model, version, finding) for version in (first, second))
        return compare_live(ledger, connection, *rows, group=group)


def _class_bins(row: WatchedVersion, deciding: Deciding) -> tuple[ClassBins, ...]:
    return tuple(
        ClassBins(name, tuple(reliability(deciding.slices[key].labeled)))
        for name in row.classes
        if (key := f"predicted:{name}") in deciding.slices
    )


def only_model(ledger: Ledger) -> str:
    """Return the ledger's only model. Raises ModelNeeded if it has none or several."""
    with ledger.read() as connection:
        known = models(connection)
    if len(known) != 1:
        raise ModelNeeded(known)
    return known[0]


def _delay(connection: Connection, watched_version_id: int) -> Delay:
    first = prediction.c.first_feedback_id
    wanted = (
        select(feedback.c.received_at_ns - prediction.c.served_at_ns)
        .select_from(prediction)
        .join(feedback, feedback.c.feedback_id == first)
        .where(prediction.c.watched_version_id == watched_version_id, IS_LABELED)
        .order_by(first.desc())
        .limit(_DELAY_SAMPLE)
    )
    delays_s = np.array(connection.scalars(wanted).all(), dtype=np.float64) / 1e9
    if not delays_s.size:
        return Delay(math.nan, math.nan)
    median, p90 = np.quantile(np.maximum(delays_s, 0.0), [0.5, 0.9]).tolist()
    return Delay(median, p90)
