"""Ledger, recorder and maintenance worker of a process, opened and closed together."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy.exc import SQLAlchemyError

from calibration.drift.state import DriftSettings
from console.answer_links import ImageLinks
from console.routes import ledger_pages
from hosting.errors import SettingsError
from hosting.settings import Settings
from monitoring.drift import watch
from monitoring.errors import LedgerNotUp
from monitoring.feedback.labeling import FeedbackPolicy
from monitoring.http.body_budget import BodyBudget
from monitoring.http.endpoint import Endpoint
from monitoring.ledger.database import Ledger
from monitoring.ledger.ended_sessions import EndedSessions
from monitoring.ledger.version_events import promoted_version
from monitoring.maintenance.worker import MaintenanceWorker
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recalibration.limits import AlarmPolicy
from monitoring.recalibration.on_alarm import AlarmResponder
from monitoring.recording.picture_keeper import PictureKeeper
from monitoring.recording.recorder import Recorder
from monitoring.recording.spool import Spool
from monitoring.routes import endpoints

_log = logging.getLogger(__name__)
COMMIT_S = 2.0  # the longest that a transaction waits for the database, without CANDOR_DEADLINE_S
LEDGER_WAIT_S = 60.0  # that a start waits for a database that is coming up
RETRY_S, SAY_S = 0.5, 5.0  # while the start waits for the database
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Monitor:
    """What a process uses of monitoring.

    `alarmed` says whether a drift detector of a watched version id has an active alarm, `leads`
    whether this process leads. `bodies` is the memory of all request bodies of the process.
    `pictures` keeps pictures of answers, if at all. `ended` are the sessions that people ended.
    """

    recorder: Recorder | None
    endpoints: Sequence[Endpoint]
    bodies: BodyBudget
    alarmed: Callable[[int], bool] = lambda _watched_version_id: False
    leads: Callable[[], bool] = lambda: False
    ledger: Ledger | None = None
    pictures: PictureKeeper | None = None
    ended: EndedSessions = field(default_factory=EndedSessions)


@contextmanager
def open_monitor(
    settings: Settings,
    registry: CollectorRegistry,
    *,
    production: Callable[[str], int | None] | None = None,
) -> Iterator[Monitor]:
    """Open the monitor of a process. Leaving the block commits the queue. Raises LedgerError.

    `production` returns the production version of a model. `candor monitor` passes None and uses
    the version that a server last recorded in the ledger. If the settings keep the monitor apart, a
    server gets no endpoints.
    """
    url = settings.ledger_url
    bodies = BodyBudget(
        settings.body_budget_bytes, wait_s=settings.deadline_s or settings.body_timeout_s
    )
    held = Gauge(
        "candor_body_memory_bytes",
        "Memory that request bodies hold, of all that is set aside for them.",
        registry=registry,
    )
    held.set_function(lambda: bodies.held_bytes)
    if url is None:
        if settings.recalibrate_on_alarm != "off":
            raise SettingsError(
                "recalibrate_on_alarm needs a ledger: give CANDOR_LEDGER a database, or set it to "
                "off."
            )
        yield Monitor(recorder=None, endpoints=[], bodies=bodies)
        return
    metrics = MonitorMetrics(registry)
    drift = DriftSettings(
        average_run_length=settings.drift_average_run_length,
        tolerance=settings.drift_tolerance,
        audit=settings.audit_share > 0,
    )
    kept_s = None if settings.retention_days is None else settings.retention_days * _DAY_S
    policy = FeedbackPolicy(retention_s=kept_s)
    with (
        _open_ledger(url, settings) as ledger,
        _open_spool(settings, answers=production is not None) as spool,
        Recorder(
            ledger,
            metrics,
            settings=drift,
            tags=settings.watched_tags,
            policy=policy,
            spool=spool,
            patient_key=settings.patient_key,
            sources=settings.label_sources,
        ) as recorder,
        _open_pictures(settings, ledger, answers=production is not None) as pictures,
    ):
        alarmed, ended = partial(_alarmed, ledger), EndedSessions(ledger)
        if settings.monitor == "apart" and production is not None:
            if settings.recalibrate_on_alarm != "off":
                _log.warning(
                    "this server only records: `candor monitor` acts on alarms, if it has the "
                    "same setting"
                )
            yield Monitor(recorder, [], bodies, alarmed, pictures=pictures, ended=ended)
            return
        chosen, serves = production or partial(_recorded_production, ledger), production is not None
        mounted = [
            *endpoints(recorder, ledger, metrics, production=chosen, serves=serves, bodies=bodies),
            *ledger_pages(
                recorder,
                ledger,
                bodies=bodies,
                store=settings.opened_store,
                production=chosen,
                serves=serves,
                links=ImageLinks(settings.image_link),
            ),
        ]
        respond = _responder(settings, ledger, metrics)
        with MaintenanceWorker(
            ledger, recorder, registry, retention_s=kept_s, on_alarm=respond
        ) as worker:
            yield Monitor(
                recorder, mounted, bodies, alarmed, lambda: worker.leads, ledger, pictures, ended
            )


def _open_ledger(url: str, settings: Settings) -> Ledger:
    """The ledger, once its database takes connections. Raises LedgerError."""
    give_up_s = time.monotonic() + LEDGER_WAIT_S
    say_s = 0.0
    while True:
        try:
            return Ledger(url, timeout_s=settings.deadline_s or COMMIT_S)
        except LedgerNotUp as error:
            now_s = time.monotonic()
            if now_s >= give_up_s:
                raise
            if now_s >= say_s:
                _log.warning("waiting %.0f s more for the database: %s", give_up_s - now_s, error)
                say_s = now_s + SAY_S
            time.sleep(min(RETRY_S, give_up_s - now_s))


def _responder(
    settings: Settings, ledger: Ledger, metrics: MonitorMetrics
) -> Callable[[], None] | None:
    """What the leader does about alarms; None if the settings say nothing is to be done."""
    if settings.recalibrate_on_alarm == "off":
        return None
    policy = AlarmPolicy(
        action=settings.recalibrate_on_alarm,
        label_changes=settings.recalibrate_label_changes,
    )
    return AlarmResponder(
        ledger, settings.opened_store, policy, counter=metrics.recalibrations
    ).look


def _open_spool(settings: Settings, *, answers: bool) -> AbstractContextManager[Spool | None]:
    """The spool of a server, if the settings ask for one or an earlier run left answers in one."""
    if not answers or not (settings.spool_limit_bytes or settings.spool.exists()):
        return nullcontext()
    return Spool(settings.spool, limit_bytes=settings.spool_limit_bytes)


def _open_pictures(
    settings: Settings, ledger: Ledger, *, answers: bool
) -> AbstractContextManager[PictureKeeper | None]:
    """What keeps pictures of answers; None unless the settings ask for them."""
    if not answers or settings.keep_pictures_days is None:
        return nullcontext()
    return PictureKeeper(ledger, days=settings.keep_pictures_days)


def _alarmed(ledger: Ledger, watched_version_id: int) -> bool:
    """Whether any drift alarm is active; False while the ledger is unavailable."""
    try:
        with ledger.read() as connection:
            watches = watch.load_all(connection, watched_version_id)
    except SQLAlchemyError:
        return False
    return any(watched.detector.active for watched in watches)


def _recorded_production(ledger: Ledger, model: str) -> int | None:
    with ledger.read() as connection:
        return promoted_version(connection, model)
