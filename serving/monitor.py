"""The monitor beside the server: ledger and recorder, opened and closed together; nothing where it is off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute

from calibration.drift import DriftSettings
from monitoring import watch
from monitoring.ledger.database import Ledger
from monitoring.metrics import MonitorMetrics
from monitoring.recorder import Recorder
from monitoring.routes import routes
from serving.settings import Settings


@dataclass(frozen=True, slots=True)
class Monitor:
    """What the server needs of monitoring: where to record, the routes to mount, and whose detector has alarmed."""

    recorder: Recorder | None
    routes: list[BaseRoute]
    alarmed: Callable[[int], bool] = lambda _calibration_id: False


@contextmanager
def open_monitor(
    settings: Settings, registry: CollectorRegistry, *, production: Callable[[str], int | None]
) -> Iterator[Monitor]:
    """The monitor of one server process; leaving the block commits what waits. Raises monitoring's LedgerError."""
    url = settings.ledger_url
    if url is None:
        yield Monitor(recorder=None, routes=[])
        return
    metrics = MonitorMetrics(registry)
    drift = DriftSettings(
        average_run_length=settings.drift_average_run_length,
        tolerance=settings.drift_tolerance,
        audit=settings.audit_share > 0,
    )
    with Ledger(url) as ledger, Recorder(ledger, metrics, settings=drift) as recorder:
        mounted: list[BaseRoute] = list(routes(recorder, ledger, metrics, production=production))
        yield Monitor(recorder=recorder, routes=mounted, alarmed=partial(_alarmed, ledger))


def _alarmed(ledger: Ledger, calibration_id: int) -> bool:
    with ledger.read() as connection:
        watched = watch.load(connection, calibration_id)
    return watched is not None and watched.detector.active
