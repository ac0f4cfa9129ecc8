"""The fallback: answers go to the spool while the ledger is away, and from there to the ledger when
it is back.

Only the recorder's thread uses it. During an `Outage`, a thread of its own tries the ledger again,
because a database that is silent takes seconds to fail. When it is over, spooled answers are moved
to the ledger in portions, between the commits of new answers.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import Gauge
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from monitoring.errors import SpoolFull
from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.spool import CardKey, Frame, Spool

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 5.0
REFUSED_PAUSE_S = 30.0  # after answers that the ledger refused, for which there is no other place
ROWS_AT_ONCE = 128
SETTLE_S = 0.3  # in which commits that were given up end, so that their retries find them

_log = logging.getLogger(__name__)


class LedgerAway(SQLAlchemyError):
    """The ledger failed, and is left alone until it is reached again."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("The ledger is away; send this again later.")


class Outage:
    """Whether the ledger is away. `lasts` and `left_alone` may be read in any thread.

    Args:
        probe: commits to the ledger, or raises.
        gauge: 1 while it lasts.
        over: called at its end, in the thread that notices it.
    """

    def __init__(
        self, probe: Callable[[], None], gauge: Gauge, *, over: Callable[[], object]
    ) -> None:
        self.lasts = False
        self.left_alone = False  # nobody but the probe tries the ledger
        self._probe, self._gauge, self._on_end = probe, gauge, over
        self._pause_s = FIRST_PAUSE_S
        self._changing = threading.Lock()
        self._over = threading.Event()  # of the last outage
        self._over.set()
        self._thread: threading.Thread | None = None

    def begin(self, error: BaseException, *, left_alone: bool) -> None:
        """Note a failure of the ledger, and try it again after a pause that doubles each time."""
        with self._changing:
            self.left_alone |= left_alone
            if self.lasts:
                return
            self.lasts = True
            self._over = threading.Event()
            self._gauge.set(1)
        reason = getattr(error, "orig", None) or error  # without the values of a statement
        _log.error("the ledger failed, and is tried again every few seconds: %s", reason)
        self._thread = threading.Thread(
            target=self._try_again, args=(self._over,), name="candor-ledger-probe", daemon=True
        )
        self._thread.start()

    def reached(self) -> None:
        """Note that the ledger has committed something."""
        if self.lasts or self._pause_s != FIRST_PAUSE_S:
            self._end(self._over)
            self._pause_s = FIRST_PAUSE_S

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _try_again(self, over: threading.Event) -> None:
        while not over.wait(self._pause_s):
            with self._changing:
                if over.is_set():
                    return
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            try:
                self._probe()
            except Exception:  # noqa: BLE001 whatever it is, the ledger is still away
                continue
            over.wait(SETTLE_S)
            self._end(over)

    def _end(self, over: threading.Event) -> None:
        """End the outage that `over` belongs to, if it lasts."""
        with self._changing:
            if over.is_set():
                return
            over.set()
            self.lasts = self.left_alone = False
            self._gauge.set(0)
        _log.warning("the ledger is back")
        self._on_end()


def is_away(error: BaseException) -> bool:
    """Return whether the database failed, rather than refused what was written."""
    refused = isinstance(error, DataError | IntegrityError)
    return isinstance(error, DBAPIError | PoolTimeout | LedgerAway) and not refused


class Fallback:
    """Takes the answers that the ledger cannot. `join` writes frames to the ledger, or raises."""

    def __init__(
        self,
        spool: Spool | None,
        metrics: MonitorMetrics,
        outage: Outage,
        *,
        join: Callable[[Sequence[Frame]], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._metrics = metrics
        self._outage = outage
        self._join = join
        self._clock_s = clock_s
        self._retry_at_s = 0.0
        self._logged_full = False
        self._show()

    @property
    def open(self) -> bool:
        """Whether it takes answers."""
        return self._spool is not None and self._spool.limit_bytes > 0

    @property
    def rows(self) -> int:
        """Number of spooled answers."""
        return self._spool.rows if self._spool else 0

    @property
    def wait_s(self) -> float | None:
        """Seconds until spooled answers can be moved; None if there are none, or during an outage,
        at whose end the recorder is woken.
        """
        if not self.rows or self._outage.lasts:
            return None
        return max(0.0, self._retry_at_s - self._clock_s())

    def take(self, rows: Sequence[PredictionRow], versions: Mapping[int, WatchedVersion]) -> None:
        """Spool answers, durable on return. Raises SpoolFull or OSError."""
        if self._spool is None:
            raise RuntimeError("there is no spool")
        known = {row.watched_version_id: versions[row.watched_version_id] for row in rows}
        cards = {
            key: CardKey(row.model, row.version, row.card_sha256) for key, row in known.items()
        }
        try:
            self._spool.append(Frame(cards, rows))
        except (SpoolFull, OSError) as error:
            if not self._logged_full:
                _log.error("the spool takes no more answers, so requests fail: %s", error)
            self._logged_full = True
            raise
        self._metrics.spool_written.inc(len(rows))
        self._show()

    def advance(self) -> None:
        """Move one portion of spooled answers to the ledger, unless it is paused."""
        if self._spool is None or self.wait_s != 0:
            return
        try:
            frames = self._spool.read(rows=ROWS_AT_ONCE)
            self._join_each(frames)
        except Exception as error:  # noqa: BLE001 whatever it is, the answers stay in the spool
            if is_away(error):
                self._outage.begin(error, left_alone=True)
            else:
                _log.error("the ledger refuses spooled answers: %s", error)
                self._retry_at_s = self._clock_s() + REFUSED_PAUSE_S
            return
        self._outage.reached()
        self._spool.drop(len(frames))
        self._metrics.spool_joined.inc(sum(len(frame.rows) for frame in frames))
        self._show()
        if not self._spool.rows:
            self._logged_full = False
            _log.warning("all spooled answers are in the ledger")

    def _join_each(self, frames: Sequence[Frame]) -> None:
        """Move all frames, or if refused, one by one without the bad ones. Raises if away."""
        try:
            self._join(frames)
            return
        except Exception as error:
            if is_away(error):
                raise
        for frame in frames:
            try:
                self._join([frame])
            except Exception as error:
                if is_away(error) or self._spool is None:
                    raise
                self._spool.set_aside(frame, error)

    def _show(self) -> None:
        if self._spool is not None:
            self._metrics.spool_rows.set(self._spool.rows)
            self._metrics.spool_bytes.set(self._spool.size_bytes)
            self._metrics.spool_limit_bytes.set(self._spool.limit_bytes)
