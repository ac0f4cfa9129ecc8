"""Gauges of the second question, read from the ledger: is a version as accurate as it was? As its
page answers it.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from monitoring.findings.accuracy import AccuracyAnswer, AccuracyVerdict, find_accuracy
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import EVERYTHING, bin_total, monitor_state
from monitoring.ledger.statement import summed
from monitoring.ledger.versions import superseded, visible_versions

_LABELS = ("model", "version")
_GAUGES = {
    "candor_accuracy_ratio": "Accuracy of the labeled answers that the answer about accuracy "
    "rests on.",
    "candor_accuracy_reference_ratio": "Accuracy on the card's reference.",
    "candor_accuracy_difference_lower_ratio": "Lower end of accuracy minus the reference, at "
    "every look at once.",
    "candor_accuracy_difference_upper_ratio": "Upper end of accuracy minus the reference, at "
    "every look at once.",
    "candor_accuracy_lower": "1 while accuracy is lower than the reference beyond chance, else 0.",
}
_log = logging.getLogger(__name__)


class _Known(NamedTuple):
    """The verdict as of this feedback id and number of answers."""

    as_of: tuple[int, int]
    verdict: AccuracyVerdict


class AccuracyGauges(Collector):
    """Reads the gauges; while the ledger cannot be read, it yields nothing and logs a warning.

    A version that another one has replaced in production alarms nobody.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[int, _Known] = {}

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering reads nothing."""
        return self._families()

    def collect(self) -> Iterator[Metric]:
        """Yield the families with a sample per visible version."""
        try:
            with self._ledger.read() as connection:
                versions = visible_versions(connection, now_ns=self._ledger.clock())
                self._refresh(connection, [version.watched_version_id for version in versions])
                past = superseded(connection)
        except SQLAlchemyError as error:
            _log.warning("the ledger could not be read for /metrics: %s", error)
            return
        families = self._families()
        for version in versions:
            verdict = self._known[version.watched_version_id].verdict
            for family, value in zip(families, _values(verdict), strict=True):
                is_alarm = family.name == "candor_accuracy_lower"
                value = 0.0 if is_alarm and version.watched_version_id in past else value
                family.add_metric((version.model, version.version), value)
        yield from families

    def _refresh(self, connection: Connection, watched_version_ids: list[int]) -> None:
        """Answer again where labels or answers have arrived."""
        latest, served = _latest(connection), _served(connection)
        for row in versions.load(connection, watched_version_ids):
            known = self._known.get(row.watched_version_id)
            as_of = (latest.get(row.watched_version_id, 0), served.get(row.watched_version_id, 0))
            if known is None or known.as_of != as_of:
                verdict = find_accuracy(connection, row.watched_version_id, row.reference)
                self._known[row.watched_version_id] = _Known(as_of, verdict)

    def _families(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily(*gauge, labels=_LABELS) for gauge in _GAUGES.items()]


def _values(verdict: AccuracyVerdict) -> tuple[float, ...]:
    """In the order of _GAUGES; NaN for what is not known."""
    known = bool(verdict.n and verdict.reference_n)
    ends = (verdict.difference_lower, verdict.difference_upper) if known else (math.nan, math.nan)
    return (verdict.live, verdict.reference, *ends, float(verdict.answer is AccuracyAnswer.LOWER))


def _latest(connection: Connection) -> dict[int, int]:
    columns = monitor_state.c
    wanted = select(columns.watched_version_id, columns.last_feedback_id).filter_by(
        slice=EVERYTHING
    )
    return dict(connection.execute(wanted).all())


def _served(connection: Connection) -> dict[int, int]:
    columns = bin_total.c
    wanted = select(columns.watched_version_id, summed(columns.served)).filter_by(slice=EVERYTHING)
    return {
        watched_version_id: int(n)
        for watched_version_id, n in connection.execute(wanted.group_by(columns.watched_version_id))
    }
