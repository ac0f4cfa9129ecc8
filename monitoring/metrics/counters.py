"""The Prometheus metrics of the monitoring room.

Counters are increments of this process, never totals of the database, which replicas would count
twice. All series of a version start at zero when it is loaded, those of one that is only declared
with its first answer. What is measured of a version is read from the ledger at scrape time
(`ledger_gauges`). Shown are the versions registered or counted last, as many as
`versions.within_bound` lets.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitoring.feedback.items import Reason, TransactionCounts
from monitoring.ledger.versions import within_bound
from monitoring.ledger.watched_version import CountsAs, WatchedVersion


class Series(NamedTuple):
    """Whose series: a version, or a finding of it; `finding`: '' of exclusive classes."""

    model: str
    version: str
    finding: str = ""


_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
DELAY_BUCKETS_S = (
    *(_MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR),
    *(_DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY),
)
SERIES: Final = Series._fields
_ASIDE: Final = tuple(counts.name.lower() for counts in CountsAs if counts is not CountsAs.TRUTH)
_DIRECTIONS: Final = ("correct", "incorrect")


class VersionCounters:
    """The counters of versions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"candor_{name}", text, (*SERIES, *labels), registry=registry)

        self.predictions = counter("predictions", "Answers served.")
        self.feedback = counter("feedback", "Answers that got their first label.")
        self.corrections = counter(
            "feedback_corrections", "Answers that a changed label made correct or incorrect.", "to"
        )
        self.duplicates = counter("feedback_duplicates", "Labels that repeated what was known.")
        self.aside = counter(
            "feedback_aside",
            "Labels that were kept and count for no figure, by what they count as.",
            "counts_as",
        )
        self.alarms = counter("calibration_drift_alarms", "Drift alarms raised.")
        self.delay = Histogram(
            "candor_feedback_delay_seconds",
            "Seconds from an answer to its first label.",
            SERIES,
            buckets=DELAY_BUCKETS_S,
            registry=registry,
        )
        self._plain = (self.predictions, self.feedback, self.duplicates, self.alarms, self.delay)
        self._divided = ((self.corrections, _DIRECTIONS), (self.aside, _ASIDE))
        self._shown: dict[Series, None] = {}  # least recently used first

    def show(self, series: Series) -> None:
        """Show the series of a version, at zero if new; the oldest of its model may go."""
        known = series in self._shown
        self._shown.pop(series, None)
        self._shown[series] = None
        if known:
            return
        for each in self._plain:
            each.labels(*series)
        for counter, values in self._divided:
            for value in values:
                counter.labels(*series, value)
        of_model = [each for each in reversed(self._shown) if each.model == series.model]
        kept = within_bound([each[1:] for each in of_model])
        for forgotten in of_model:
            if forgotten[1:] not in kept:
                self._forget(forgotten)

    def _forget(self, series: Series) -> None:
        del self._shown[series]
        for each in self._plain:
            each.remove(*series)
        for counter, values in self._divided:
            for value in values:
                counter.remove(*series, value)


class MonitorMetrics:
    """The counters and gauges in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.versions = VersionCounters(registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"candor_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"candor_{name}", text, registry=registry)

        self.feedback_rejected = counter(
            "feedback_rejected", "Labels not recorded, by reason.", "reason"
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

    def create(self, row: WatchedVersion) -> None:
        """Show all series of a version at zero; the oldest may disappear."""
        self.versions.show(_names(row))

    def reject(self, reason: Reason, count: int = 1) -> None:
        self.feedback_rejected.labels(reason.value).inc(count)

    def count(self, counts: TransactionCounts, versions: Mapping[int, WatchedVersion]) -> None:
        changes, shown = counts.changes, self.versions
        plain = (
            (shown.predictions, changes.served),
            (shown.feedback, changes.labeled),
            (shown.duplicates, counts.duplicates),
            (shown.alarms, counts.alarms),
        )
        for counter, by_version in plain:
            for number, amount in by_version.items():
                counter.labels(*self._shown(versions[number])).inc(amount)
        for (number, right), amount in changes.corrected.items():
            to = _DIRECTIONS[not right]
            shown.corrections.labels(*self._shown(versions[number]), to).inc(amount)
        for (number, counts_as), amount in counts.aside.items():
            name = counts_as.name.lower()
            shown.aside.labels(*self._shown(versions[number]), name).inc(amount)
        for reason, rejected in counts.rejected.items():
            self.reject(reason, rejected)
        for number, delays_s in counts.delays_s.items():
            observe = shown.delay.labels(*self._shown(versions[number])).observe
            for delay_s in delays_s:
                observe(delay_s)

    def _shown(self, row: WatchedVersion) -> Series:
        """The series of a version that counts something, which may be new."""
        series = _names(row)
        self.versions.show(series)
        return series


def _names(row: WatchedVersion) -> Series:
    return Series(row.model, str(row.version), row.finding)
