"""The Prometheus metrics of the monitoring room.

Counters are increments of this process, never totals of the database, which replicas would count
twice. All series of a version start at zero when it is registered, and stay there until
Prometheus has read the zero: it loses the first increment of a series that appears with it. Gauges
that are read from the ledger at scrape time are in `ledger_gauges`.

Counters by model, version and finding are arrays behind one lock (`BinCounters`): a scrape sees
whole transactions, at a tenth of what the client library's own 165 series of a version would cost.
Shown are those registered or counted last, as many as `versions.within_bound` lets.

Prometheus' increase() starts at the first value that it has read, so it reads a zero first. A read
that takes longer than it waits is lost with its zero, and it then closes the connection. So a zero
has arrived once a read follows on its connection, or, behind proxies that keep none, after
`ZERO_READS`. This also shows a restart after which more is counted than the old process had.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from calibration.bins import BIN_COUNT
from monitoring.feedback.items import Reason, TransactionCounts
from monitoring.ledger.sum_changes import DayBin
from monitoring.ledger.versions import within_bound
from monitoring.ledger.watched_version import CountsAs, WatchedVersion

BIN_LABELS = tuple(f"{bin_number:02d}" for bin_number in range(BIN_COUNT))
ZERO_READS: Final = 10  # so many are hardly all lost
_CONNECTION: ContextVar[object] = ContextVar("connection", default=None)


@contextmanager
def read_by_prometheus(connection: object) -> Iterator[None]:
    """Within this block Prometheus reads, on `connection`, a hashable name of it.

    Any other reader sees the counts at once.
    """
    token = _CONNECTION.set(connection)
    try:
        yield
    finally:
        _CONNECTION.reset(token)


@dataclass(frozen=True, eq=False)
class BinCounter:
    """A counter: its name without `_total`, further labels, and whether it counts by bin."""

    name: str
    help: str
    labels: tuple[tuple[str, str], ...] = ()
    by_bin: bool = True


class Series(NamedTuple):
    """Whose series: a version, or a finding of it; `finding`: '' of exclusive classes."""

    model: str
    version: str
    finding: str = ""


@dataclass
class _ZeroReads:
    """How Prometheus has read a version at zero: since when, on which connections, how often."""

    first_s: float
    connections: set[object] = field(default_factory=set)
    reads: int = 0
    arrived: bool = False


class BinCounters(Collector):
    """The sums of all counters; `create` starts a version at zero.

    Prometheus reads a version's counts when the zero has arrived, and `zero_s` seconds have passed
    since it was first read: with several Prometheus servers, the time for each to read it.
    """

    def __init__(
        self,
        columns: Sequence[BinCounter],
        *,
        zero_s: float = 0.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._columns = {column: number for number, column in enumerate(columns)}
        # (counters, bins); least recently used first
        self._sums: dict[Series, list[list[float]]] = {}
        # in the order of the sums, made once
        self._labels: dict[Series, list[list[dict[str, str]]]] = {}
        self._zeros: dict[Series, _ZeroReads] = {}
        self._zero_s, self._clock_s = zero_s, clock_s
        self._lock = threading.Lock()

    def create(self, series: Series) -> list[Series]:
        """Show a version's series, at zero if new; return those no longer shown."""
        with self._lock:
            self._touch(series)
            return self._forget_oldest(series.model)

    def add(
        self, series: Series, changes: Iterable[tuple[int, Mapping[BinCounter, float]]]
    ) -> None:
        """Add a transaction's (bin number, amount by counter), atomically for readers."""
        with self._lock:
            sums = self._touch(series)
            for bin_number, amounts in changes:
                for column, amount in amounts.items():
                    sums[self._columns[column]][bin_number] += amount

    def describe(self) -> Iterable[Metric]:
        return self._families().values()

    def collect(self) -> Iterable[Metric]:
        """Return every counter of every version, as of between two transactions."""
        connection = _CONNECTION.get()
        with self._lock:
            held = {
                key
                for key in self._labels
                if connection is not None and self._is_held(key, connection)
            }
            shown = [
                (labels, _zeros(len(labels)) if key in held else list(map(list, self._sums[key])))
                for key, labels in self._labels.items()
            ]
        families = self._families()
        for column, number in self._columns.items():
            name, samples = f"{column.name}_total", families[column.name].samples
            for labels, sums in shown:
                samples += [
                    Sample(name, label, n)
                    for label, n in zip(labels[number], sums[number], strict=False)
                ]
        return families.values()

    def _families(self) -> dict[str, Metric]:
        return {
            column.name: Metric(column.name, column.help, "counter") for column in self._columns
        }

    def _is_held(self, key: Series, connection: object) -> bool:
        """Return whether Prometheus, which reads now, still has to see this version at zero."""
        now_s = self._clock_s()
        zeros = self._zeros.setdefault(key, _ZeroReads(now_s))
        zeros.arrived |= connection in zeros.connections or zeros.reads == ZERO_READS
        held = not zeros.arrived or now_s < zeros.first_s + self._zero_s
        if held:
            zeros.connections.add(connection)
            zeros.reads += 1
        return held

    def _touch(self, key: Series) -> list[list[float]]:
        sums = self._sums.pop(key, None)
        if sums is None:
            sums = _zeros(len(self._columns))
            self._labels[key] = [_labels(key, column) for column in self._columns]
        self._sums[key] = sums
        return sums

    def _forget_oldest(self, model: str) -> list[Series]:
        shown = [key for key in reversed(self._sums) if key.model == model]
        kept = within_bound([key[1:] for key in shown])
        forgotten = [key for key in shown if key[1:] not in kept]
        for key in forgotten:
            del self._sums[key], self._labels[key]
            self._zeros.pop(key, None)
        return forgotten


def _zeros(counters: int) -> list[list[float]]:
    return [[0.0] * BIN_COUNT for _ in range(counters)]


def _labels(series: Series, column: BinCounter) -> list[dict[str, str]]:
    where = series._asdict()
    if not column.by_bin:
        return [where | dict(column.labels)]
    return [where | {"bin": label} | dict(column.labels) for label in BIN_LABELS]


_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
DELAY_BUCKETS_S = (
    *(_MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR),
    *(_DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY),
)
SERIES = Series._fields

SERVED = (  # in the order of SumChanges.served
    BinCounter("candor_predictions", "Answers served, by confidence bin."),
    BinCounter("candor_prediction_confidence", "Sum of the confidence of all answers served."),
)
LABELED = (  # in the order of SumChanges.labeled
    BinCounter("candor_feedback", "Answers that got their first label (n)."),
    BinCounter("candor_feedback_confidence", "Sum of the confidence of labeled answers (S)."),
    BinCounter("candor_feedback_correct", "Labeled answers that were correct (C)."),
    BinCounter(
        "candor_feedback_variance",
        "Sum of p(1-p) over labeled answers (V): the noise of a calibrated model.",
    ),
    BinCounter("candor_feedback_squared_error", "Sum of (correct - p)^2 over labeled answers (Q)."),
)
CORRECTED = tuple(  # in the order of SumChanges.corrected
    BinCounter(name, text, (("to", outcome),))
    for name, text in (
        ("candor_feedback_corrections", "Answers that a changed label made correct or incorrect."),
        (
            "candor_feedback_corrections_confidence",
            "Sum of the confidence of answers that a changed label made so.",
        ),
    )
    for outcome in ("correct", "incorrect")
)
DUPLICATES = BinCounter(
    "candor_feedback_duplicates", "Labels that repeated what was known.", by_bin=False
)
ASIDE: Final[Mapping[CountsAs, BinCounter]] = {
    counts: BinCounter(
        "candor_feedback_aside",
        "Labels that were kept and count for no figure, by what they count as.",
        (("counts_as", counts.name.lower()),),
        by_bin=False,
    )
    for counts in CountsAs
    if counts is not CountsAs.TRUTH
}
ALARMS = BinCounter("candor_calibration_drift_alarms", "Drift alarms raised.", by_bin=False)


class MonitorMetrics:
    """The counters and gauges in a registry. `zero_s` is that of `BinCounters`."""

    def __init__(self, registry: CollectorRegistry, *, zero_s: float = 0.0) -> None:
        self.registry = registry
        self.bins = BinCounters(
            (*SERVED, *LABELED, *CORRECTED, DUPLICATES, *ASIDE.values(), ALARMS), zero_s=zero_s
        )
        registry.register(self.bins)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"candor_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"candor_{name}", text, labels, registry=registry)

        self.feedback_rejected = counter(
            "feedback_rejected", "Labels not recorded, by reason.", "reason"
        )
        self.feedback_delay = Histogram(
            "candor_feedback_delay_seconds",
            "Seconds from an answer to its first label.",
            SERIES,
            buckets=DELAY_BUCKETS_S,
            registry=registry,
        )
        self.reference_ratio = gauge(
            "reference_confidence_bin_ratio",
            "Share of each confidence bin in the card's reference.",
            *(*SERIES, "bin"),
        )
        self.ledger_away = gauge("ledger_away", "1 while the ledger cannot be written, else 0.")
        self.spool_rows = gauge("spool_rows", "Answers that wait for the ledger.")
        self.spool_bytes = gauge("spool_bytes", "Used bytes of the spool.")
        self.spool_limit_bytes = gauge("spool_limit_bytes", "Bytes that the spool may have.")
        self.spool_written = counter(
            "spool_written", "Answers spooled because the ledger was away."
        )
        self.spool_joined = counter("spool_joined", "Spooled answers taken into the ledger.")
        self.recalibrations = counter(
            "recalibrations",
            "Recalibrations on a drift alarm, by outcome; see "
            "monitoring/reports/recalibrations.py.",
            *("model", "outcome"),
        )
        for reason in Reason:
            self.feedback_rejected.labels(reason.value)
        self._created: set[Series] = set()

    def create(self, row: WatchedVersion) -> None:
        """Show all series of a version at zero, and its reference; the oldest may disappear."""
        model = _names(row)
        self._created.add(model)
        self.feedback_delay.labels(*model)
        for bin_label, ratio in zip(BIN_LABELS, _reference(row), strict=True):
            self.reference_ratio.labels(*model, bin_label).set(ratio)
        for forgotten in self.bins.create(model):
            self._forget(forgotten)

    def reject(self, reason: Reason, count: int = 1) -> None:
        self.feedback_rejected.labels(reason.value).inc(count)

    def count(self, counts: TransactionCounts, versions: Mapping[int, WatchedVersion]) -> None:
        for watched_version_id, changes in _by_version(counts).items():
            series = _names(versions[watched_version_id])
            if series not in self._created:  # a late label
                self.create(versions[watched_version_id])
            self.bins.add(series, changes)
        for reason, rejected in counts.rejected.items():
            self.reject(reason, rejected)
        for watched_version_id, delays_s in counts.delays_s.items():
            observe = self.feedback_delay.labels(*_names(versions[watched_version_id])).observe
            for delay_s in delays_s:
                observe(delay_s)

    def _forget(self, model: Series) -> None:
        self._created.discard(model)
        self.feedback_delay.remove(*model)
        for bin_label in BIN_LABELS:
            self.reference_ratio.remove(*model, bin_label)


def _names(row: WatchedVersion) -> Series:
    return Series(row.model, str(row.version), row.finding)


def _reference(row: WatchedVersion) -> list[float]:
    """Return the share of each bin in the card's reference, zeros if it has none."""
    counts = [bin_row["n"] for bin_row in row.card["calibration"]["bins"]][:BIN_COUNT]
    total = sum(counts)
    return [n / total if total else 0.0 for n in counts] + [0.0] * (BIN_COUNT - len(counts))


def _by_version(counts: TransactionCounts) -> dict[int, list[tuple[int, dict[BinCounter, float]]]]:
    """Return the changes of each version, by bin, over all days."""
    by_version: dict[int, list[tuple[int, dict[BinCounter, float]]]] = defaultdict(list)
    changes = counts.changes
    kinds: Sequence[tuple[Mapping[DayBin, list[float]], tuple[BinCounter, ...]]] = (
        (changes.served, SERVED),
        (changes.labeled, LABELED),
        (changes.corrected, CORRECTED),
    )
    for by_day_bin, columns in kinds:
        for (watched_version_id, _, bin_number), sums in by_day_bin.items():
            amounts = dict(zip(columns, sums, strict=True))
            by_version[watched_version_id].append((bin_number, amounts))
    for per_version, column in ((counts.duplicates, DUPLICATES), (counts.alarms, ALARMS)):
        for watched_version_id, count in per_version.items():
            if count:
                by_version[watched_version_id].append((0, {column: count}))
    for (watched_version_id, counts_as), count in counts.aside.items():
        by_version[watched_version_id].append((0, {ASIDE[counts_as]: count}))
    return by_version
