"""Ledger, recorder and maintenance worker of a process, opened and closed together; empty if monitoring is off."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry
from sqlalchemy.exc import SQLAlchemyError

from calibration.drift_state import DriftSettings
from monitoring.api.endpoint import Endpoint
from monitoring.drift import watch
from monitoring.feedback.labeling import FeedbackPolicy
from monitoring.ledger.calibrations import promoted_version
from monitoring.ledger.database import Ledger
from monitoring.maintenance.worker import MaintenanceWorker
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder
from monitoring.recording.spool import Spool
from monitoring.routes import endpoints
from serving.settings import Settings

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Monitor:
    """What a process uses of monitoring.

    `alarmed` says whether a drift detector of a calibration id has an active alarm, `leads` whether this process
    leads.
    """

    recorder: Recorder | None
    endpoints: Sequence[Endpoint]
    alarmed: Callable[[int], bool] = lambda _calibration_id: False
    leads: Callable[[], bool] = lambda: False
    ledger: Ledger | None = None


@contextmanager
def open_monitor(
    settings: Settings, registry: CollectorRegistry, *, production: Callable[[str], int | None] | None = None
) -> Iterator[Monitor]:
    """Open the monitor of a process. Leaving the block commits what is queued. Raises monitoring's LedgerError.

    `production` returns the production version of a model. `candor monitor` passes None and uses the version that a
    server last recorded in the ledger. If the settings keep the monitor apart, a server gets no endpoints.
    """
    url = settings.ledger_url
    if url is None:
        yield Monitor(recorder=None, endpoints=[])
        return
    metrics = MonitorMetrics(registry, zero_s=settings.metrics_zero_s)
    drift = DriftSettings(
        average_run_length=settings.drift_average_run_length,
        tolerance=settings.drift_tolerance,
        audit=settings.audit_share > 0,
        class_wise=settings.drift_streams == "class-wise",
    )
    kept_s = None if settings.retention_days is None else settings.retention_days * _DAY_S
    policy = FeedbackPolicy(retention_s=kept_s)
    with (
        Ledger(url) as ledger,
        _open_spool(settings, answers=production is not None) as spool,
        Recorder(ledger, metrics, settings=drift, tags=settings.watched_tags, policy=policy, spool=spool) as recorder,
    ):
        alarmed = partial(_alarmed, ledger)
        if settings.monitor == "apart" and production is not None:
            yield Monitor(recorder, [], alarmed)
            return
        mounted = endpoints(recorder, ledger, metrics, production=production or partial(_recorded_production, ledger))
        with MaintenanceWorker(ledger, recorder, registry, retention_s=kept_s) as worker:
            yield Monitor(recorder, mounted, alarmed, lambda: worker.leads, ledger)


def _open_spool(settings: Settings, *, answers: bool) -> AbstractContextManager[Spool | None]:
    """The spool of a server, if the settings ask for one or an earlier run left answers in one."""
    if not answers or (settings.ledger_required and not settings.spool.exists()):
        return nullcontext()
    return Spool(settings.spool, limit_bytes=0 if settings.ledger_required else settings.spool_limit_bytes)


def _alarmed(ledger: Ledger, calibration_id: int) -> bool:
    """Whether any drift alarm is active; False while the ledger is unavailable, which the recorder logs."""
    try:
        with ledger.read() as connection:
            watches = watch.load_all(connection, calibration_id)
    except SQLAlchemyError:
        return False
    return any(watched.detector.active for watched in watches)


def _recorded_production(ledger: Ledger, model: str) -> int | None:
    with ledger.read() as connection:
        return promoted_version(connection, model)
