"""Gauges of the measures, exact because they are read from the ledger; recomputed only after new
labels.

They rest on the labels on which the page rests: those of the audit alone, once it decides.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from calibration.measures.summary import MEASURES
from monitoring.feedback.answers import count_pending
from monitoring.findings.label_basis import deciding_labels
from monitoring.findings.windows import read_window, window_sums
from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import EVERYTHING, bin_total, monitor_state
from monitoring.ledger.statement import summed
from monitoring.ledger.sum_tables import FIXED_POINT
from monitoring.ledger.versions import VisibleVersion, visible_versions

WINDOWS = ("all", "last:500")
_GAUGES = [(each.gauge, each) for each in MEASURES if each.gauge]
_COVERAGE = (
    "candor_feedback_coverage_ratio",
    "Share of all answers of the version that have a label.",
)
_AUDIT = (
    "candor_calibration_audit_decides",
    "1 if the gauges of a version rest on audited answers alone, else 0.",
)
_EXPECTED = (
    "candor_expected_accuracy_ratio",
    "Mean confidence of all answers of the version, labeled or not: its accuracy if confidence is "
    "calibrated.",
)
_PENDING = ("candor_feedback_pending", "Labels that wait for their predictions.")
_NOTHING = (math.nan, math.nan)
_log = logging.getLogger(__name__)


class _Known(NamedTuple):
    """The values as of this feedback id."""

    last_feedback_id: int
    values: dict[str, tuple[float, ...]]  # by window, in the order of _GAUGES
    audit: bool


class WindowGauges(Collector):
    """Reads the gauges; while the ledger cannot be read, it yields nothing and logs a warning."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[int, _Known] = {}

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering reads nothing."""
        return self._families()

    def collect(self) -> Iterator[Metric]:
        """Yield the families with a sample per visible version and window."""
        try:
            with self._ledger.read() as connection:
                versions = visible_versions(connection, now_ns=self._ledger.clock())
                self._refresh(connection, versions)
                held, served = count_pending(connection), _served(connection)
        except SQLAlchemyError as error:
            _log.warning("the ledger could not be read for /metrics: %s", error)
            return
        *windows, coverage, expected, audit, waiting = self._families()
        for version in versions:
            for window, values in self._known[version.watched_version_id].values.items():
                for family, value in zip(windows, values, strict=True):
                    family.add_metric((version.model, version.version, window), value)
            labels = (version.model, version.version)
            values = (
                *served.get(version.watched_version_id, _NOTHING),
                float(self._known[version.watched_version_id].audit),
            )
            for family, value in zip((coverage, expected, audit), values, strict=True):
                family.add_metric(labels, value)
        for model in sorted({version.model for version in versions} | held.keys()):
            waiting.add_metric((model,), held.get(model, 0))
        yield from (*windows, coverage, expected, audit, waiting)

    def _families(self) -> list[GaugeMetricFamily]:
        labels = ("model", "version", "window")
        windows = [
            GaugeMetricFamily(name, measure.text, labels=labels) for name, measure in _GAUGES
        ]
        by_version = [
            GaugeMetricFamily(*each, labels=("model", "version"))
            for each in (_COVERAGE, _EXPECTED, _AUDIT)
        ]
        return [*windows, *by_version, GaugeMetricFamily(*_PENDING, labels=("model",))]

    def _refresh(self, connection: Connection, versions: Iterable[VisibleVersion]) -> None:
        columns = monitor_state.c
        wanted = select(columns.watched_version_id, columns.last_feedback_id).filter_by(
            slice=EVERYTHING
        )
        latest = dict(connection.execute(wanted).all())
        for version in versions:
            known, last_id = (
                self._known.get(version.watched_version_id),
                latest.get(version.watched_version_id, 0),
            )
            if known is None or known.last_feedback_id != last_id:
                self._known[version.watched_version_id] = _Known(
                    last_id, *_values(connection, version.watched_version_id)
                )


def _served(connection: Connection) -> dict[int, tuple[float, float]]:
    """Labeled answers / answers, and mean confidence of all answers, of each version that has
    answered.

    The first counts by answer on both sides, so a late label counts where it belongs.
    """
    columns = bin_total.c
    sums = (summed(column) for column in (columns.n, columns.served_confidence, columns.served))
    counts = (
        select(columns.watched_version_id, *sums)
        .filter_by(slice=EVERYTHING)
        .group_by(columns.watched_version_id)
    )
    return {
        watched_version_id: (
            int(labeled) / int(served),
            int(confidence) / FIXED_POINT / int(served),
        )
        for watched_version_id, labeled, confidence, served in connection.execute(counts)
        if served
    }


def _values(
    connection: Connection, watched_version_id: int
) -> tuple[dict[str, tuple[float, ...]], bool]:
    values, audit = dict[str, tuple[float, ...]](), False
    for name in WINDOWS:
        window = read_window(name)
        seen = window_sums(connection, watched_version_id, window, now_ns=0)
        labeled, audit = deciding_labels(connection, watched_version_id, window, seen)
        values[name] = tuple(float(measure.bins(labeled)) for _, measure in _GAUGES if measure.bins)
    return values, audit
