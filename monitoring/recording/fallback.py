"""The fallback: where answers go while the ledger is away, and how they come back into it.

Used by the recorder's thread alone. After a failure the ledger is left alone for a while, longer each time, because
asking a database that does not answer costs seconds in which nobody gets an answer. Once it is back, what was spooled
is joined in portions between the answers of the day.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from monitoring.errors import SpoolFull
from monitoring.ledger.calibrations import CalibrationRow
from monitoring.ledger.predictions import PredictionRow
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.spool import CardKey, Frame, Spool

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
ROWS_AT_ONCE = 512

_log = logging.getLogger(__name__)


def is_away(error: BaseException) -> bool:
    """Whether it is the database that fails (away, full, locked), not what was to be written."""
    refused = isinstance(error, DataError | IntegrityError)
    return isinstance(error, DBAPIError | PoolTimeout) and not refused


class Fallback:
    """Takes answers that the ledger could not; `join` writes frames to the ledger, or raises."""

    def __init__(
        self,
        spool: Spool | None,
        metrics: MonitorMetrics,
        *,
        join: Callable[[Sequence[Frame]], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._metrics = metrics
        self._join = join
        self._clock_s = clock_s
        self._pause_s = FIRST_PAUSE_S
        self._again_s = 0.0  # nothing is joined until then
        self._away = False  # as far as is known
        self._told_away = self._told_full = False
        self._show()

    @property
    def open(self) -> bool:
        """Whether answers may take it."""
        return self._spool is not None and self._spool.limit_bytes > 0

    @property
    def rows(self) -> int:
        """How many answers are spooled."""
        return self._spool.rows if self._spool else 0

    @property
    def ledger_rests(self) -> bool:
        """Whether the ledger has failed so lately that it is not asked."""
        return self._away and self._clock_s() < self._again_s

    @property
    def wait_s(self) -> float | None:
        """Seconds until there is something to join; None for never."""
        return max(0.0, self._again_s - self._clock_s()) if self.rows else None

    def take(self, rows: Sequence[PredictionRow], calibrations: Mapping[int, CalibrationRow]) -> None:
        """Spool answers, durable when this returns. Raises SpoolFull or OSError."""
        if self._spool is None:
            raise RuntimeError("there is no spool")
        known = {row.calibration_id: calibrations[row.calibration_id] for row in rows}
        cards = {key: CardKey(row.model, row.version, row.card_sha256) for key, row in known.items()}
        try:
            self._spool.append(Frame(cards, rows))
        except (SpoolFull, OSError) as error:
            if not self._told_full:
                _log.error("the spool takes no more, answers are withheld: %s", error)
            self._told_full = True
            raise
        self._metrics.spool_written.inc(len(rows))
        self._show()

    def rest(self, error: BaseException) -> None:
        """Leave the ledger alone for a while: it has failed."""
        if not self._told_away:
            _log.error("the ledger failed, it is tried again from time to time: %s", error)
        self._told_away = True
        self._away = is_away(error)
        self._again_s = self._clock_s() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def reached(self) -> None:
        """Hear that the ledger has taken something."""
        self._away = False
        if self._told_away and not self.rows:
            self._arrive()

    def advance(self) -> None:
        """Join one portion of what is spooled, unless that failed lately."""
        if self._spool is None or self.wait_s != 0:
            return
        try:
            frames = self._spool.read(rows=ROWS_AT_ONCE)
            self._join_each(frames)
        except Exception as error:  # noqa: BLE001 whatever it is, the answers stay where they are
            self.rest(error)
            return
        self._spool.drop(len(frames))
        self._metrics.spool_joined.inc(sum(len(frame.rows) for frame in frames))
        self._show()
        if not self._spool.rows:
            self._arrive()

    def _join_each(self, frames: Sequence[Frame]) -> None:
        """All together, or one by one where one is at fault; that one is set aside. Raises while the ledger is away."""
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

    def _arrive(self) -> None:
        self._pause_s = FIRST_PAUSE_S
        self._away = self._told_away = self._told_full = False
        _log.warning("the ledger is back, and no answer is spooled any more")

    def _show(self) -> None:
        if self._spool is not None:
            self._metrics.spool_rows.set(self._spool.rows)
            self._metrics.spool_bytes.set(self._spool.size_bytes)
            self._metrics.spool_limit_bytes.set(self._spool.limit_bytes)
