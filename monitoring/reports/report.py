"""The calibration report: what the ledger's sums say about a model, beside what its card promised.

Everything but the windows `last:N` comes from day sums, at the same cost over ten thousand answers as over ten million.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import BinSums
from calibration.measures import Measures
from calibration.reliability import ReliabilityBin, reliability
from monitoring.api.json_body import plain
from monitoring.drift import events
from monitoring.errors import ModelNeeded
from monitoring.findings.comparison import CardComparison, compare
from monitoring.findings.drift import Drift, find_drift
from monitoring.findings.early_warnings import RECENT_DAYS, EarlyWarning, find_early_warnings, served_by_class
from monitoring.findings.image_warnings import find_image_warnings
from monitoring.findings.recommendation import Findings, Recommendation, recommend
from monitoring.findings.selection import LabelSelection, find_selection
from monitoring.findings.slices import Slices, find_slices
from monitoring.findings.status import Status, assess
from monitoring.findings.timeline import TimelineEntry, as_entry
from monitoring.findings.windows import ALL, Windowed, read_window, window_sums
from monitoring.ledger.calibrations import CalibrationRow, choose, models, of_model
from monitoring.ledger.database import Ledger
from monitoring.ledger.inputs import read_inputs
from monitoring.ledger.schema import feedback, label_current, prediction
from monitoring.ledger.slices import AUDIT, EVERYTHING
from monitoring.ledger.sums import DAY_NS, read_slices

_DELAY_SAMPLE = 500  # the latest labels from which the delay is estimated
_EVENTS = 20  # the latest of the history that a report shows


@dataclass(frozen=True)
class Coverage:
    """Answers served, those with a label, and their share (NaN when nothing was served)."""

    served: int
    labeled: int
    ratio: float


@dataclass(frozen=True)
class Delay:
    """Seconds from answer to label over the latest labels; NaN without labels."""

    median_s: float
    p90_s: float


@dataclass(frozen=True)
class ReportSummary:
    """One model version's calibration as the ledger has it, without bins, slices and history.

    Attributes:
        measures: of the window's labeled answers; `reference`: the card's own measures of the same names.
        comparison: live against reference, and whether the difference is more than chance.
        expected_accuracy: mean confidence of all answers served on the window's days, labeled or not.
        coverage: of the answers served on the window's days (`last:N`: on all days).
        delay: from answer to first label, over the latest labels whatever the window.
        drift: the detector, which knows no windows.
        selection: how the labels came about, and what audited answers say.
        signs: what can be seen without labels.
        recommendation: should I be worried, why, and what to do.
    """

    model: str
    version: int
    versions: tuple[int, ...]
    window: str
    generated_at_ns: int
    temperature: float
    status: Status
    verdict: str
    measures: Measures
    reference: dict[str, float | None]
    comparison: CardComparison
    expected_accuracy: float
    coverage: Coverage
    delay: Delay
    drift: Drift | None
    selection: LabelSelection
    signs: tuple[EarlyWarning, ...]
    recommendation: Recommendation


@dataclass(frozen=True)
class Report(ReportSummary):
    """One model version's calibration as the ledger has it.

    Attributes:
        slices: for whom (over the window's days); None where they were not asked for.
        history: the latest events of this version.
        bins: those of a reliability diagram; `served_bins`: answers served in each.
    """

    slices: Slices | None
    history: tuple[TimelineEntry, ...]
    bins: tuple[ReliabilityBin, ...]
    served_bins: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: plain values, None in place of NaN and infinities."""
        fields: dict[str, Any] = plain(self)
        return fields

    def summary(self) -> ReportSummary:
        """The report without its bins, slices and history."""
        return ReportSummary(**{field.name: getattr(self, field.name) for field in dataclasses.fields(ReportSummary)})


def calibration_report(
    ledger: Ledger, model: str, *, version: int | None = None, window: str = ALL, slices: bool = True
) -> Report:
    """Report on a version of a model, by default the one registered last; `slices` may cost more than all the rest.

    Raises ModelUnknown for a model or version that was never registered, QueryInvalid for a window that cannot be read.
    """
    asked, now_ns = read_window(window), ledger.clock()
    with ledger.read() as connection:
        row = choose(connection, model, version)
        versions = {other.version for other in of_model(connection, model)}
        seen = window_sums(connection, row.calibration_id, asked, now_ns=now_ns)
        history = events.read(connection, row.calibration_id)
        drift = find_drift(connection, row.calibration_id, history)
        delay = _delay(connection, row.calibration_id)
        selection = find_selection(connection, row.calibration_id, seen.served, since_day=seen.since_day)
        signs = _signs(connection, row, seen, now_ns=now_ns)
        found = _slices(connection, row.calibration_id, seen.since_day) if slices else None
    measures = Measures.from_sums(seen.labeled)
    verdict = assess(measures, alarm_label=drift.alarm_label if drift else None)
    comparison = compare(seen.labeled, _reference(row))
    findings = Findings(row.model, verdict, measures, drift, comparison, selection, found, signs, row.is_logged)
    served = int(seen.served.served.sum())
    return Report(
        model=row.model,
        version=row.version,
        versions=tuple(sorted(versions)),
        window=window,
        generated_at_ns=now_ns,
        temperature=row.card["calibration"]["temperature"],
        status=verdict.status,
        verdict=verdict.sentence,
        measures=measures,
        reference=row.card["calibration"]["measures"],
        comparison=comparison,
        expected_accuracy=float(seen.served.served_confidence.sum()) / served if served else math.nan,
        coverage=Coverage(served, seen.served.labeled.total, selection.coverage),
        delay=delay,
        drift=drift,
        selection=selection,
        signs=signs,
        slices=found,
        history=tuple(as_entry(event) for event in history[-_EVENTS:]),
        recommendation=recommend(findings),
        bins=tuple(reliability(seen.labeled)),
        served_bins=tuple(seen.served.served.tolist()),
    )


def only_model(ledger: Ledger) -> str:
    """The model that need not be named because the ledger knows no other. Raises ModelNeeded."""
    with ledger.read() as connection:
        known = models(connection)
    if len(known) != 1:
        raise ModelNeeded(known)
    return known[0]


def _reference(row: CalibrationRow) -> BinSums:
    return BinSums.from_rows(row.card["calibration"]["bins"])


def _slices(connection: Connection, calibration_id: int, since_day: int | None) -> Slices:
    return find_slices(read_slices(connection, calibration_id, since_day=since_day, besides=(EVERYTHING, AUDIT)))


def _signs(connection: Connection, row: CalibrationRow, seen: Windowed, *, now_ns: int) -> tuple[EarlyWarning, ...]:
    recent = served_by_class(connection, row, since_day=now_ns // DAY_NS - RECENT_DAYS + 1)
    ever = served_by_class(connection, row)
    before = {name: served - recent.get(name, 0) for name, served in ever.items()}
    found = find_early_warnings(seen.served, _reference(row), recent, before)
    reference = row.card.get("input_reference")
    if reference is None:
        return found
    live = read_inputs(connection, row.calibration_id, since_day=seen.since_day)
    return (*found, *find_image_warnings(live, reference))


def _delay(connection: Connection, calibration_id: int) -> Delay:
    first = label_current.c.first_feedback_id
    wanted = (
        select(feedback.c.received_at_ns - prediction.c.served_at_ns)
        .select_from(label_current)
        .join(feedback, feedback.c.feedback_id == first)
        .join(prediction, prediction.c.prediction_id == label_current.c.prediction_id)
        .where(label_current.c.calibration_id == calibration_id)
        .order_by(first.desc())
        .limit(_DELAY_SAMPLE)
    )
    delays_s = np.array(connection.scalars(wanted).all(), dtype=np.float64) / 1e9
    if not delays_s.size:
        return Delay(math.nan, math.nan)
    median, p90 = np.quantile(np.maximum(delays_s, 0.0), [0.5, 0.9]).tolist()
    return Delay(median, p90)
