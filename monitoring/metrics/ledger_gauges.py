"""Gauges that are read from the ledger at scrape time: drift detectors, measures, and diagnosis.

They show what a version's page shows, and rest on the same labels: those of the audit alone once it
decides. Measures and diagnosis are computed again only after new labels or answers. A read spends
half a second on diagnoses, and one that takes longer is repeated after 20 times its duration; until
then, a version shows the last one. A thread reads the ledger: where it takes longer than WAIT_S,
Prometheus gets what was read last, and its age.

Replicas that share a ledger share its detectors: each shows the same state, also right after
another replica recorded a label or an acknowledgment. The label `ledger` separates equal states of
one ledger, of which one counts, from those of several ledgers, whose evidence adds up (a sum of
e-detectors is an e-detector). A version that another one has replaced in production must page
nobody: its detectors are shown as if they had been reset, and its diagnosis alarms nobody. Promoted
again, it shows its state as before.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from threading import Lock, Thread
from typing import Final, NamedTuple, get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from calibration.measures.summary import MEASURES
from monitoring.diagnosis.audit import deciding_labels
from monitoring.diagnosis.diagnosis import diagnose, read_grounds
from monitoring.diagnosis.facts import AccuracyAnswer, Diagnosis, State
from monitoring.drift import watch
from monitoring.drift.tag_settings import tag_of
from monitoring.feedback.answers import count_pending
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.day_sums import read_day_sums
from monitoring.ledger.days import doubtful_days
from monitoring.ledger.predictions import Work, done_ns
from monitoring.ledger.schema import DAY_NS, EVERYTHING, bin_total, monitor_event, monitor_state
from monitoring.ledger.sum_tables import AUDIT, summed
from monitoring.ledger.version_events import superseded
from monitoring.ledger.versions import VisibleVersion, visible_versions
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.metrics import operating_gauges
from monitoring.metrics.counters import Series

# By the value of the label `window`: UTC days, today included.
WINDOWS: Final = {"1d": 1, "7d": 7, "28d": 28, "all": None}
_VERSION: Final = Series._fields
_DETECTOR: Final = (*_VERSION, "ledger")
_TAG: Final = (*_DETECTOR, "tag")
_MEASURES: Final = {
    each.gauge: (each.bins, each.text) for each in MEASURES if each.gauge and each.bins
}
_AGE: Final = "candor_ledger_read_age_seconds"
_GAUGES: Final = {  # by name: the help text and the labels
    _AGE: ("Seconds since the gauges that come from the ledger were read.", ()),
    "candor_calibration_drift_log_evalue": ("Log of the evidence against calibration.", _DETECTOR),
    "candor_calibration_drift_log_threshold": (
        "Log evidence at which the alarm is raised.",
        _DETECTOR,
    ),
    "candor_calibration_drift_active": (
        "1 from the alarm until it is acknowledged or another version serves, else 0.",
        _DETECTOR,
    ),
    "candor_calibration_drift_tag_log_evalue": (
        "Log of the evidence against calibration in the answers with a tag.",
        _TAG,
    ),
    "candor_calibration_drift_tag_log_threshold": (
        "Log evidence at which the alarm of a tag is raised.",
        _TAG,
    ),
    "candor_calibration_drift_tag_active": (
        "1 from the alarm of a tag until it is acknowledged or another version serves, else 0.",
        _TAG,
    ),
    **{name: (text, (*_VERSION, "window")) for name, (_, text) in _MEASURES.items()},
    "candor_calibration_audit_decides": (
        "1 if the gauges of a version rest on audited answers alone, else 0.",
        _VERSION,
    ),
    "candor_feedback_coverage_ratio": (
        "Share of the answers of a window that have a label.",
        (*_VERSION, "window"),
    ),
    "candor_expected_accuracy_ratio": (
        "Mean confidence of all answers of a window, labeled or not: their accuracy if confidence "
        "is calibrated.",
        (*_VERSION, "window"),
    ),
    "candor_ledger_backup_timestamp_seconds": (
        "Unix time of the last `candor ledger backup`; 0: none.",
        (),
    ),
    "candor_ledger_prune_timestamp_seconds": (
        "Unix time when answers older than the retention were last deleted; 0: never.",
        (),
    ),
    "candor_feedback_pending": ("Labels that wait for their predictions.", ("model",)),
    "candor_accuracy_ratio": (
        "Accuracy of the labeled answers that the answer about accuracy rests on.",
        _VERSION,
    ),
    "candor_accuracy_reference_ratio": ("Accuracy on the card's reference.", _VERSION),
    "candor_accuracy_difference_lower_ratio": (
        "Lower end of accuracy minus the reference, at every look at once.",
        _VERSION,
    ),
    "candor_accuracy_difference_upper_ratio": (
        "Upper end of accuracy minus the reference, at every look at once.",
        _VERSION,
    ),
    "candor_diagnosis_state": (
        "1 for the state of a version's diagnosis, 0 for the others and of replaced versions.",
        (*_VERSION, "state"),
    ),
    "candor_diagnosis_gap_ratio": (
        "Confidence minus accuracy of the answers that the diagnosis names; 0 if it names none.",
        _VERSION,
    ),
    "candor_accuracy_lower": (
        "1 while accuracy is lower than the reference beyond chance, else 0.",
        _VERSION,
    ),
    "candor_doubtful_images": (
        "1 while more images are out of scope than the card promises, by an e-process, else 0.",
        _VERSION,
    ),
    "candor_doubtful_images_ratio": (
        "Share of answers to images with a scope p-value up to the card's alpha.",
        _VERSION,
    ),
    **operating_gauges.GAUGES,
}
WAIT_S: Final = 1.0
_BUDGET_S: Final = 0.5  # for diagnoses, in a read; also from where one is expensive
_PAUSE: Final = 20  # durations until an expensive diagnosis is repeated
_SILENCED: Final = (
    "candor_accuracy_lower",
    "candor_diagnosis_state",
    "candor_doubtful_images",
    operating_gauges.LOWER,
)  # of replaced versions
_log = logging.getLogger(__name__)


class _Sample(NamedTuple):
    """A value of one of _GAUGES, with its labels in their order."""

    name: str
    labels: tuple[str, ...]
    value: float


class LedgerGauges(Collector):
    """Reads the gauges; while the ledger cannot be read, those read last.

    `clock_s`: what bounds the time for diagnoses is measured by.
    """

    def __init__(self, ledger: Ledger, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._clock_s = ledger, clock_s
        self._known: dict[tuple[str, int], tuple[object, list[_Sample]]] = {}
        self._next_s: dict[int, float] = {}  # when a version may be diagnosed again
        self._reading: Future[list[_Sample]] | None = None
        self._changes = Lock()
        self._read: list[_Sample] = []  # last
        self._read_at_s = math.nan

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering reads nothing."""
        return _families().values()

    def collect(self) -> Iterable[Metric]:
        """Return the families with a sample per visible version, window and watched tag."""
        samples, families = self._current(), _families()
        if math.isnan(self._read_at_s):  # nothing was ever read
            return ()
        for name, labels, value in samples:
            families[name].add_metric(labels, value)
        families[_AGE].add_metric((), time.monotonic() - self._read_at_s)
        return families.values()

    def _current(self) -> list[_Sample]:
        """What the ledger says, or has said last where it keeps a reader waiting."""
        with self._changes:
            reading, wait_s = self._reading, 0.0
            if reading is None:
                reading, wait_s = Future[list[_Sample]](), WAIT_S
                self._reading = reading
                Thread(target=self._fill, args=(reading,), daemon=True).start()
        with suppress(TimeoutError, SQLAlchemyError):
            return reading.result(wait_s)
        return self._read

    def _fill(self, reading: "Future[list[_Sample]]") -> None:
        begun_s = time.monotonic()
        try:
            with self._ledger.read() as connection:
                found = list(self._samples(connection))
        except Exception as error:  # noqa: BLE001 the edge of a thread: the scrape raises it
            _log.warning("the ledger could not be read for /metrics: %s", error)
            self._reading = None
            reading.set_exception(error)
        else:
            self._read, self._read_at_s, self._reading = found, begun_s, None
            reading.set_result(found)

    def _samples(self, connection: Connection) -> Iterator[_Sample]:
        shown = visible_versions(connection, now_ns=self._ledger.clock())
        replaced, ledger = superseded(connection), ledger_name(connection)
        latest, served = _latest_labels(connection), _served(connection)
        today = self._ledger.clock() // DAY_NS
        acts = connection.scalar(select(func.max(monitor_event.c.event_id)))
        until_s = self._clock_s() + _BUDGET_S
        for version in shown:
            key, is_past = version.watched_version_id, version.watched_version_id in replaced
            yield from self._drift(connection, version, ledger, is_past=is_past)
            as_of, read = (latest.get(key), served.get(key), today), partial(_windows, today=today)
            yield from self._remembered("windows", as_of, read, connection, version)
            for sample in self._diagnosed((*as_of, acts), connection, version, until_s):
                is_silenced = is_past and sample.name in _SILENCED
                yield sample._replace(value=0.0) if is_silenced else sample
        for work in get_args(Work):
            done_s = done_ns(connection, work) / 1e9
            yield _Sample(f"candor_ledger_{work}_timestamp_seconds", (), done_s)
        pending = count_pending(connection)
        for model in sorted({version.model for version in shown} | pending.keys()):
            yield _Sample("candor_feedback_pending", (model,), pending.get(model, 0))

    def _drift(
        self, connection: Connection, version: VisibleVersion, ledger: str, *, is_past: bool
    ) -> Iterator[_Sample]:
        rows = select(monitor_state).filter_by(watched_version_id=version.watched_version_id)
        for row in connection.execute(rows.order_by(monitor_state.c.slice)).all():
            names: tuple[str, ...] = (*_names(version), ledger)
            kind = "candor_calibration_drift"
            if row.slice != EVERYTHING:
                names, kind = (*names, tag_of(row.slice)), f"{kind}_tag"
            detector = watch.decode(row).detector
            evidence = -math.inf if is_past else detector.log_evalue
            yield _Sample(f"{kind}_log_evalue", names, evidence)
            yield _Sample(f"{kind}_log_threshold", names, detector.log_threshold)
            yield _Sample(f"{kind}_active", names, float(detector.active and not is_past))

    def _diagnosed(
        self, as_of: object, connection: Connection, version: VisibleVersion, until_s: float
    ) -> list[_Sample]:
        """Diagnose a version if there is time until then; otherwise return the last diagnosis."""
        key, started_s = version.watched_version_id, self._clock_s()
        if started_s > until_s or started_s < self._next_s.get(key, 0.0):
            return self._known.get(("diagnosis", key), (None, []))[1]
        found = self._remembered("diagnosis", as_of, self._diagnosis, connection, version)
        took_s = self._clock_s() - started_s
        if took_s > _BUDGET_S:
            self._next_s[key] = started_s + _PAUSE * took_s
        return found

    def _diagnosis(self, connection: Connection, version: VisibleVersion) -> Iterator[_Sample]:
        names = _names(version)
        (row,) = versions.load(connection, [version.watched_version_id])
        grounds = read_grounds(self._ledger, connection, row)
        found = diagnose(connection, row, grounds, now_ns=self._ledger.clock())
        for state in State:
            value = float(found.state is state)
            yield _Sample("candor_diagnosis_state", (*names, state.value), value)
        ongoing = [each for each in found.deviations if each.until is None]
        gap = ongoing[0].inside.gap.estimate if ongoing else 0.0
        yield _Sample("candor_diagnosis_gap_ratio", names, gap)
        accuracy, difference = found.accuracy, found.accuracy.difference
        is_known = accuracy.n and accuracy.reference_n
        lower, upper = (difference.lower, difference.upper) if is_known else (math.nan, math.nan)
        yield _Sample("candor_accuracy_ratio", names, accuracy.live)
        yield _Sample("candor_accuracy_reference_ratio", names, accuracy.reference)
        yield _Sample("candor_accuracy_difference_lower_ratio", names, lower)
        yield _Sample("candor_accuracy_difference_upper_ratio", names, upper)
        yield from _doubtful(connection, row, names, found)
        for sample in operating_gauges.operating_samples(found.operating_points, names):
            yield _Sample(*sample)
        # Of a finding, accuracy is the share present, which may fall without any error.
        is_lower = accuracy.answer is AccuracyAnswer.LOWER and row.counts_errors
        yield _Sample("candor_accuracy_lower", names, float(is_lower))

    def _remembered(
        self,
        name: str,
        as_of: object,
        read: Callable[[Connection, VisibleVersion], Iterator[_Sample]],
        connection: Connection,
        version: VisibleVersion,
    ) -> list[_Sample]:
        """Return what `read` returned for this version while `as_of` is the same."""
        key = (name, version.watched_version_id)
        if key not in self._known or self._known[key][0] != as_of:
            self._known[key] = (as_of, list(read(connection, version)))
        return self._known[key][1]


def _doubtful(
    connection: Connection, row: WatchedVersion, names: Series, found: Diagnosis
) -> Iterator[_Sample]:
    if not row.card.get("scope"):
        return
    (sign,) = (each for each in found.early_signs if each.name == "doubtful_images")
    days = doubtful_days(connection, row)
    answers = sum(each.answers for each in days)
    ratio = sum(each.doubtful for each in days) / answers if answers else math.nan
    yield _Sample("candor_doubtful_images", names, float(sign.raised))
    yield _Sample("candor_doubtful_images_ratio", names, ratio)


def ledger_name(connection: Connection) -> str:
    """Return the ledger's name for all readers: the hexadecimal time of its first event."""
    first_ns = connection.scalar(
        select(monitor_event.c.at_ns).order_by(monitor_event.c.event_id).limit(1)
    )
    return "" if first_ns is None else f"{first_ns:x}"


def _names(version: VisibleVersion) -> Series:
    return Series(version.model, version.version, version.finding)


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        name: GaugeMetricFamily(name, text, labels=labels)
        for name, (text, labels) in _GAUGES.items()
    }


def _windows(connection: Connection, version: VisibleVersion, *, today: int) -> Iterator[_Sample]:
    """Coverage of the answers of each window, and measures of the labels that decide; a label
    counts where its answer does, however late.
    """
    names, audit = _names(version), False
    days = read_day_sums(connection, version.watched_version_id, EVERYTHING, AUDIT)
    for name, since_day in _since(today):
        sums = days[EVERYTHING].since(since_day).added()
        labeled, audit = deciding_labels(days, since_day)
        answers = float(sums.served.sum()) or math.nan
        values = {
            "candor_feedback_coverage_ratio": sums.labeled.total / answers,
            "candor_expected_accuracy_ratio": float(sums.served_confidence.sum()) / answers,
            **{gauge: float(bins(labeled)) for gauge, (bins, _) in _MEASURES.items()},
        }
        for gauge, value in values.items():
            yield _Sample(gauge, (*names, name), value)
    yield _Sample("candor_calibration_audit_decides", names, float(audit))


def _since(today: int) -> Iterator[tuple[str, int | None]]:
    """Each window, and its first day; None if all days count."""
    for name, days in WINDOWS.items():
        yield name, None if days is None else today - days + 1


def _latest_labels(connection: Connection) -> dict[int, int]:
    """The last feedback id of each watched version; a correction has one of its own."""
    columns = monitor_state.c
    wanted = select(columns.watched_version_id, columns.last_feedback_id)
    return dict(connection.execute(wanted.filter_by(slice=EVERYTHING)).all())


def _served(connection: Connection) -> dict[int, int]:
    """Answers by version."""
    columns = bin_total.c
    wanted = select(columns.watched_version_id, summed(columns.served)).filter_by(slice=EVERYTHING)
    return dict(connection.execute(wanted.group_by(columns.watched_version_id)).all())
