"""Background work of a process: it looks for models that others registered; if it leads, it prunes,
writes alarms of doubtful images and operating points, and acts on drift alarms.

A new leader prunes at once, to finish what its predecessor may have left half done, and then after
each UTC day. If two processes lead for a moment, nothing is lost: pruning twice does what pruning
once does. A clock that was set by more than an hour stops it, because it deletes by age.

Labels need no leader: any process writes them, under a lock per version. A process leads while it
holds a lock that ends when the process dies. On PostgreSQL that is an advisory lock of a separate
session, which ends with its connection. On SQLite, whose processes share a machine, it is a lock on
a file beside the ledger.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import closing

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy.exc import SQLAlchemyError

from monitoring.diagnosis.lower_rates import note_lower_rates
from monitoring.drift.scope_watch import note_alarms
from monitoring.errors import ClockDoubtful, RecorderClosed
from monitoring.ledger import ended_sessions, pictures
from monitoring.ledger.database import Ledger
from monitoring.ledger.dialects import Claim
from monitoring.ledger.locks import NAMESPACE, Lock
from monitoring.ledger.schema import DAY_NS
from monitoring.maintenance import retention
from monitoring.maintenance.clock import ClockWatch, since_start_ns
from monitoring.recording.recorder import Recorder

_log = logging.getLogger(__name__)


def leadership(ledger: Ledger) -> Claim:
    """The claim to lead a ledger, which at most one process holds."""
    return ledger.claim(NAMESPACE + Lock.LEADER)


LOOK_S = 1.0  # between looks at who leads: a standby takes over within this time
HOUR_NS = 3_600 * 10**9
MODELS_S = 15.0  # between looks for models that others registered


class MaintenanceWorker:
    """A thread of one process.

    `retention_s`: how long answers are kept, None for ever. `on_alarm`: what the leader does every
    `models_s` seconds about drift alarms, None for nothing.
    """

    def __init__(
        self,
        ledger: Ledger,
        recorder: Recorder,
        registry: CollectorRegistry,
        *,
        retention_s: float | None = None,
        on_alarm: Callable[[], None] | None = None,
        look_s: float = LOOK_S,
        models_s: float = MODELS_S,
        steady_ns: Callable[[], int] = since_start_ns,
    ) -> None:
        self._ledger, self._recorder = ledger, recorder
        self._retention_s, self._look_s, self._models_s = retention_s, look_s, models_s
        self._on_alarm = on_alarm
        self._clock = ClockWatch(ledger, steady_ns=steady_ns)
        self._leads = Gauge(
            "candor_monitor_leader", "1 in the process that prunes, else 0.", registry=registry
        )
        self._doubtful = Gauge(
            "candor_clock_doubtful",
            "1 while the leader deletes nothing, because the clock was set.",
            registry=registry,
        )
        self._doubted = False
        self._pruned_day: int | None = None  # the day on which this process last pruned as leader
        self._noted_hour: int | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="candor-maintenance", daemon=True)
        self.leads = False

    def __enter__(self) -> "MaintenanceWorker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _work(self) -> None:
        waited_s = self._models_s  # look at once
        with closing(leadership(self._ledger)) as claim:
            while not self._ending.is_set():
                trusted_ns = self._look(claim)
                if waited_s >= self._models_s:
                    waited_s = 0.0
                    self._look_for_models()
                    self._note_alarms()
                    self._look_for_alarms()
                    self._drop_expired(trusted_ns)
                self._ending.wait(self._look_s)
                waited_s += self._look_s

    def _look(self, claim: Claim) -> int | None:
        """Return the time by which the leader may delete, None if it may not or is another."""
        try:
            leads = claim.held()
            if leads != self.leads:
                _log.info("this process %s", "leads" if leads else "no longer leads")
            self.leads = leads
            self._leads.set(leads)
            if not leads:
                self._pruned_day = None
                self._doubtful.set(False)
                return None
            now_ns = self._trusted_ns()
            if now_ns is not None:
                self._prune(now_ns)
            return now_ns
        except _Ending:
            _log.info("the end of the process interrupted pruning; the next leader continues it")
        except (SQLAlchemyError, OSError) as error:
            _log.warning("the maintenance worker failed and will retry: %s", error)
        return None

    def _trusted_ns(self) -> int | None:
        now_ns = None
        try:
            now_ns = self._clock.check()
        except ClockDoubtful as error:
            if not self._doubted:
                _log.error("%s", error)
        self._doubted = now_ns is None
        self._doubtful.set(self._doubted)
        return now_ns

    def _prune(self, now_ns: int) -> None:
        today = now_ns // DAY_NS
        if self._retention_s is None or self._pruned_day == today:
            return
        pruned = retention.prune(
            self._ledger, older_than_s=self._retention_s, progress=self._end_if_asked, now_ns=now_ns
        )
        self._pruned_day = today
        _log.info("pruned", extra={"fields": {"answers": pruned.answers, "labels": pruned.labels}})

    def _end_if_asked(self, _stage: str, _done: int, _total: int) -> None:
        if self._ending.is_set():
            raise _Ending

    def _look_for_models(self) -> None:
        try:
            self._recorder.look_up()
        except RecorderClosed:
            self._ending.set()

    def _drop_expired(self, trusted_ns: int | None) -> None:
        """Delete pictures and ended sessions whose time is over, whoever kept them."""
        if trusted_ns is None:
            return
        try:
            with self._ledger.write() as connection:
                pictures.drop_expired(connection, now_ns=trusted_ns)
                ended_sessions.drop_expired(connection, now_ns=trusted_ns)
        except SQLAlchemyError as error:
            _log.warning("what has expired was not deleted, and will be later: %s", error)

    def _note_alarms(self) -> None:
        """Write alarms of doubtful images and of operating points, once in an hour."""
        hour = self._ledger.clock() // HOUR_NS
        if not self.leads or hour == self._noted_hour:
            return
        try:
            note_alarms(self._ledger)
            note_lower_rates(self._ledger)
            self._noted_hour = hour
        except SQLAlchemyError as error:
            _log.warning("alarms could not be written, and will be later: %s", error)

    def _look_for_alarms(self) -> None:
        if self._on_alarm is None or not self.leads:
            return
        try:
            self._on_alarm()
        except Exception:  # noqa: BLE001 the edge of the thread: whatever happens, answers are pruned and models found
            _log.exception("acting on drift alarms failed")


class _Ending(Exception):
    """Ends pruning between two transactions, because the process ends."""
