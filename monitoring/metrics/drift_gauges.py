"""The states of the drift detectors, read from the ledger at scrape time.

Replicas that share a ledger share its detectors: each shows the same state, also right after
another replica recorded a label or an acknowledgment. The label `ledger` separates equal states of
one ledger, of which one counts, from those of several ledgers, whose evidence adds up (a sum of
e-detectors is an e-detector). A version that another one has replaced in production must page
nobody: it is shown as if it had been reset. Promoted again, it shows its state as before. Tags that
    are watched by themselves have gauges of their own, with the label `tag`.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import SQLAlchemyError

from calibration.drift.detector import DriftDetector
from monitoring.drift import watch
from monitoring.drift.tag_settings import tag_of
from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import EVERYTHING, monitor_event, monitor_state
from monitoring.ledger.versions import superseded, visible_versions

LABELS = ("model", "version", "ledger")
TAG_LABELS = (*LABELS, "tag")
_GAUGES = {
    "candor_calibration_drift_log_evalue": "Log of the evidence against calibration.",
    "candor_calibration_drift_log_threshold": "Log evidence at which the alarm is raised.",
    "candor_calibration_drift_active": "1 from the alarm until it is acknowledged or another "
    "version serves, else 0.",
}
_TAG_GAUGES = {
    "candor_calibration_drift_tag_log_evalue": "Log of the evidence against calibration in the "
    "answers with a tag.",
    "candor_calibration_drift_tag_log_threshold": "Log evidence at which the alarm of a tag is "
    "raised.",
    "candor_calibration_drift_tag_active": "1 from the alarm of a tag until it is acknowledged or "
    "another version serves, else 0.",
}
_log = logging.getLogger(__name__)


class DriftGauges(Collector):
    """Reads the gauges; while the ledger cannot be read, it yields nothing and logs a warning."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[
            tuple[int, str], tuple[Row[Any], DriftDetector]
        ] = {}  # the saved row, its decoded detector

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering reads nothing."""
        return self._families()

    def collect(self) -> Iterator[Metric]:
        """Yield the families with a sample per watched version, and per tag that is watched by
        itself.
        """
        try:
            with self._ledger.read() as connection:
                versions = visible_versions(connection, now_ns=self._ledger.clock())
                detectors = self._detectors(
                    connection, [version.watched_version_id for version in versions]
                )
                replaced = superseded(connection)
                name = ledger_name(connection)
        except SQLAlchemyError as error:
            _log.warning("the ledger could not be read for /metrics: %s", error)
            return
        families = self._families()
        by_id = {version.watched_version_id: version for version in versions}
        for (watched_version_id, slice_name), detector in detectors.items():
            version, past = by_id[watched_version_id], watched_version_id in replaced
            evidence = -math.inf if past else detector.log_evalue
            values = (evidence, detector.log_threshold, float(detector.active and not past))
            labels = (version.model, version.version, name)
            whole = slice_name == EVERYTHING
            chosen = families[: len(_GAUGES)] if whole else families[len(_GAUGES) :]
            for family, value in zip(chosen, values, strict=True):
                family.add_metric(labels if whole else (*labels, tag_of(slice_name)), value)
        yield from families

    def _detectors(
        self, connection: Connection, watched_version_ids: Sequence[int]
    ) -> dict[tuple[int, str], DriftDetector]:
        """Return the detectors by watched version id and slice; an unchanged state is not decoded
        again.
        """
        wanted = select(monitor_state).where(
            monitor_state.c.watched_version_id.in_(watched_version_ids)
        )
        saved = connection.execute(
            wanted.order_by(monitor_state.c.watched_version_id, monitor_state.c.slice)
        )
        before, self._known = self._known, {}
        for row in saved:
            key = (row.watched_version_id, row.slice)
            known = before.get(key)
            detector = known[1] if known and known[0] == row else watch.decode(row).detector
            self._known[key] = (row, detector)
        return {key: detector for key, (_, detector) in self._known.items()}

    def _families(self) -> list[GaugeMetricFamily]:
        whole = [GaugeMetricFamily(*gauge, labels=LABELS) for gauge in _GAUGES.items()]
        return [
            *whole,
            *(GaugeMetricFamily(*gauge, labels=TAG_LABELS) for gauge in _TAG_GAUGES.items()),
        ]


def ledger_name(connection: Connection) -> str:
    """Return the ledger's name for all its readers: the time of its first event in hexadecimal,
    empty before that.
    """
    first_ns = connection.scalar(
        select(monitor_event.c.at_ns).order_by(monitor_event.c.event_id).limit(1)
    )
    return "" if first_ns is None else f"{first_ns:x}"
