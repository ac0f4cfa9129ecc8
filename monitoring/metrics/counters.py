"""The Prometheus metrics of the monitoring room.

Counters are increments of this process, never totals of the database, which replicas would count
twice. All series of a version start at zero when it is registered, and stay there until
Prometheus has read the zero (`bin_counters`): Prometheus loses the first increment of a series that
appears with it. Gauges that are read from the ledger at scrape time are in `ledger_gauges`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from calibration.bins import BIN_COUNT
from monitoring.feedback.items import Reason, TransactionCounts
from monitoring.ledger.label_sources import CountsAs
from monitoring.ledger.sum_changes import DayBin
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.metrics.bin_counters import BIN_LABELS, BinCounter, BinCounters, Series

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
        """Count labels that were not recorded."""
        self.feedback_rejected.labels(reason.value).inc(count)

    def count(self, counts: TransactionCounts, versions: Mapping[int, WatchedVersion]) -> None:
        """Add what a committed transaction did."""
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
