"""`Outage`: while the ledger is away, a thread of its own tries it again.

A database that is silent takes seconds to fail. No answer or label waits for such an attempt.
"""

import logging
import threading
from collections.abc import Callable

from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 5.0
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
                _log.debug("the ledger is still away", exc_info=True)
            else:
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
