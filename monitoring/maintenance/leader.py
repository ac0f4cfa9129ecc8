"""Which of several processes on one ledger does what is to be done once.

Labels need no leader: whoever gets them writes them, under a lock a version. A leader prunes. It leads as long as it
holds a lock that the system takes from it when it dies: on PostgreSQL an advisory lock of a session of its own, which
ends with its connection; on SQLite, whose processes share a machine, a lock on a file beside the ledger.
"""

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import NAMESPACE, Lock

_log = logging.getLogger(__name__)


class Leadership:
    """The lead of a ledger, held by at most one process. For one thread; leaving a `with` gives it up."""

    def __init__(self, ledger: Ledger) -> None:
        self._claim: _FileClaim | _SessionClaim = _FileClaim(ledger) if ledger.is_sqlite else _SessionClaim(ledger)
        self._held = False

    def held(self) -> bool:
        """Take the lead if nobody has it, and say whether it is ours now. False while the ledger is out of reach."""
        held = self._claim.held()
        if held != self._held:
            _log.info("this process %s", "leads" if held else "leads no more")
        self._held = held
        return held

    def close(self) -> None:
        """Give it up; another process has it at its next look."""
        self._claim.close()
        self._held = False

    def __enter__(self) -> "Leadership":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _SessionClaim:
    """A session's advisory lock. That the session answers shows that the lock is ours still."""

    # A leader whose machine is gone closes no connection: the server ends its session after eight seconds of silence.
    _WATCHED = ("tcp_keepalives_idle = 2", "tcp_keepalives_interval = 2", "tcp_keepalives_count = 3")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._session: Connection | None = None
        self._locked = False

    def held(self) -> bool:
        try:
            if self._session is None:
                self._session = self._ledger.session()
                for setting in self._WATCHED:
                    self._session.exec_driver_sql(f"SET {setting}")
            if self._locked:
                self._session.exec_driver_sql("SELECT 1")
            else:
                wanted = "SELECT pg_try_advisory_lock(%s, 0)"
                self._locked = bool(self._session.exec_driver_sql(wanted, (NAMESPACE + Lock.LEADER,)).scalar())
        except SQLAlchemyError as error:
            _log.warning("the ledger cannot be asked who leads: %s", error)
            self.close()
        return self._locked

    def close(self) -> None:
        session, self._session, self._locked = self._session, None, False
        if session is not None:
            with suppress(SQLAlchemyError):  # it may be broken, which is why we are here
                session.close()


class _FileClaim:
    """An exclusive lock on LEDGER.lead; the kernel ends it with the process. The file itself says nothing and stays."""

    def __init__(self, ledger: Ledger) -> None:
        self._path = Path(f"{ledger.url.database}.lead")
        self._file: int | None = None

    def held(self) -> bool:
        if self._file is None:
            file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                self._file = file
        return self._file is not None

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
