"""The leader: of several processes on one ledger, the one that prunes.

Labels need no leader: any process writes them, under a lock per version. A process leads while it
holds a lock that ends when the process dies. On PostgreSQL that is an advisory lock of a separate
session, which ends with its connection. On SQLite, whose processes share a machine, it is a lock on
a file beside the ledger.
"""

import logging
from types import TracebackType

from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import NAMESPACE, Lock

_log = logging.getLogger(__name__)


class Leadership:
    """Leadership of a ledger, held by at most one process. For one thread; leaving a `with` gives
    it up.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._claim = ledger.claim(NAMESPACE + Lock.LEADER)
        self._held = False

    def held(self) -> bool:
        """Take leadership if it is free; return whether this process leads. False if the ledger is
        out of reach.
        """
        held = self._claim.held()
        if held != self._held:
            _log.info("this process %s", "leads" if held else "no longer leads")
        self._held = held
        return held

    def close(self) -> None:
        """Give it up; another process takes it when it next looks."""
        self._claim.close()
        self._held = False

    def __enter__(self) -> "Leadership":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
