"""The Prometheus metrics of the monitoring room.
 Counters are this process's own increments, never totals of the database: replicas would count twice. Every
series of a calibration is born at zero when it is registered: a series that appears with its first increment
loses it. What is read from the ledger at scrape time is in `window_gauges`.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from calibration.bins import BIN_COUNT
from calibration.drift import DriftDetector
from monitoring.feedback.items import Reason
from monitoring.ledger.calibrations import CalibrationRow
from monitoring.tally import Tally

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
DELAY_BUCKETS_S = (
    *(_MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR),
    *(_DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY),
)
MODEL = ("model", "version")
BIN = (*MODEL, "bin")


def bin_label(bin_number: int) -> str:
    """The label of a confidence bin: "00" to "14"."""
    return f"{bin_number:02d}"


class MonitorMetrics:
    """The counters and gauges, in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

        def counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
            return Counter(f"candor_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...]) -> Gauge:
            return Gauge(f"candor_{name}", text, labels, registry=registry)

        self.predictions = counter("predictions", "Answers served, by confidence bin.", BIN)
        self.prediction_confidence = counter(
            "prediction_confidence", "Sum of the confidence of all answers served.", BIN
        )
        self.feedback = counter("feedback", "Answers that got their first label (n).", BIN)
        self.feedback_confidence = counter("feedback_confidence", "Sum of the confidence of labeled answers (S).", BIN)
        self.feedback_correct = counter("feedback_correct", "Labelled answers that were correct (C).", BIN)
        self.feedback_variance = counter(
            "feedback_variance",
            "Sum of p(1-p) over labeled answers (V): the noise of a calibrated model.",
            BIN,
        )
        self.feedback_squared_error = counter(
            "feedback_squared_error", "Sum of (correct - p)^2 over labeled answers (Q).", BIN
        )
        self.feedback_corrections = counter(
            "feedback_corrections", "Answers that a changed label made correct or incorrect.", (*BIN, "to")
        )
        self.feedback_rejected = counter("feedback_rejected", "Labels not recorded, by reason.", ("reason",))
        self.feedback_duplicates = counter("feedback_duplicates", "Labels that repeated what was known.", MODEL)
        self.drift_alarms = counter("calibration_drift_alarms", "Drift alarms raised.", MODEL)
        self.feedback_delay = Histogram(
            "candor_feedback_delay_seconds",
            "Seconds from an answer to its first label.",
            MODEL,
            buckets=DELAY_BUCKETS_S,
            registry=registry,
        )
        self.drift_log_evalue = gauge("calibration_drift_log_evalue", "Log of the evidence against calibration.", MODEL)
        self.drift_log_threshold = gauge(
            "calibration_drift_log_threshold", "Log evidence at which the alarm is raised.", MODEL
        )
        self.drift_active = gauge(
            "calibration_drift_active", "1 from the alarm until it is acknowledged, else 0.", MODEL
        )
        self.reference_ratio = gauge(
            "reference_confidence_bin_ratio", "Share of each confidence bin in the card's reference.", BIN
        )
        for reason in Reason:
            self.feedback_rejected.labels(reason.value)

    def birth(self, row: CalibrationRow) -> None:
        """Show every series of a calibration at zero, and its reference."""
        model = (row.model, str(row.version))
        for per_model in (self.feedback_duplicates, self.drift_alarms, self.feedback_delay):
            per_model.labels(*model)
        reference = [bin_row["n"] for bin_row in row.card["calibration"]["bins"]]
        total = sum(reference)
        for bin_number in range(BIN_COUNT):
            labels = (*model, bin_label(bin_number))
            for per_bin in self._served() + self._labeled():
                per_bin.labels(*labels)
            for to in ("correct", "incorrect"):
                self.feedback_corrections.labels(*labels, to)
            n = reference[bin_number] if bin_number < len(reference) else 0
            self.reference_ratio.labels(*labels).set(n / total if total else 0.0)

    def show_detector(self, row: CalibrationRow, detector: DriftDetector) -> None:
        """Set the drift gauges."""
        model = (row.model, str(row.version))
        self.drift_log_evalue.labels(*model).set(detector.log_evalue)
        self.drift_log_threshold.labels(*model).set(detector.log_threshold)
        self.drift_active.labels(*model).set(detector.active)

    def reject(self, reason: Reason, count: int = 1) -> None:
        """Count labels that were not recorded."""
        self.feedback_rejected.labels(reason.value).inc(count)

    def count(self, tally: Tally, calibrations: Mapping[int, CalibrationRow]) -> None:
        """Move the counters by what a committed transaction did."""

        def labels(calibration_id: int) -> tuple[str, str]:
            row = calibrations[calibration_id]
            return row.model, str(row.version)

        changes = tally.changes
        for cell, sums in changes.served.items():
            _add(self._served(), (*labels(cell.calibration_id), bin_label(cell.bin)), sums)
        for cell, sums in changes.labeled.items():
            _add(self._labeled(), (*labels(cell.calibration_id), bin_label(cell.bin)), sums)
        for cell, (to_correct, to_incorrect, _) in changes.corrected.items():
            where = (*labels(cell.calibration_id), bin_label(cell.bin))
            self.feedback_corrections.labels(*where, "correct").inc(to_correct)
            self.feedback_corrections.labels(*where, "incorrect").inc(to_incorrect)
        for reason, rejected in tally.rejected.items():
            self.reject(reason, rejected)
        for calibration_id, duplicates in tally.duplicates.items():
            self.feedback_duplicates.labels(*labels(calibration_id)).inc(duplicates)
        for calibration_id, delay_s in tally.delays_s:
            self.feedback_delay.labels(*labels(calibration_id)).observe(delay_s)
        for calibration_id, detector in tally.detectors.items():
            self.drift_alarms.labels(*labels(calibration_id)).inc(tally.alarms[calibration_id])
            self.show_detector(calibrations[calibration_id], detector)

    def _served(self) -> tuple[Counter, ...]:
        """In the order of SumChanges.served."""
        return self.predictions, self.prediction_confidence

    def _labeled(self) -> tuple[Counter, ...]:
        """In the order of SumChanges.labeled."""
        return (
            self.feedback,
            self.feedback_confidence,
            self.feedback_correct,
            self.feedback_variance,
            self.feedback_squared_error,
        )


def _add(counters: tuple[Counter, ...], labels: tuple[str, ...], sums: list[float]) -> None:
    for counter, amount in zip(counters, sums, strict=True):
        counter.labels(*labels).inc(amount)
