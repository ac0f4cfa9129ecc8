"""The files of an open SQLite database, so that one that was deleted or replaced is noticed.

SQLite goes on writing to a file that has no name any more: every commit succeeds, and is gone when
the process ends.
"""

import logging
import sqlite3
from pathlib import Path
from typing import Any, TypeAlias

Identity: TypeAlias = tuple[int, int] | None  # device and inode; None: there is no such file

_log = logging.getLogger(__name__)


class OpenDatabase:
    """The database that this process opened at a path, and the write-ahead log of each of its
    connections.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._log = path, path.with_name(f"{path.name}-wal")
        self._database: Identity = None

    def check(self) -> None:
        """Raise sqlite3.OperationalError unless the path still leads to the database that was
        opened first.
        """
        found = _identity(self._path)
        if self._database is None:
            self._database = found
        elif found != self._database:
            raise sqlite3.OperationalError(
                f"{self._path} was deleted or replaced while it was in use. Put the file back, or "
                "restart Candor to go "
                "on with what is there now; until then nothing is written"
            )

    def log_is_lost(self, connection: sqlite3.Connection, known: dict[Any, Any]) -> bool:
        """Whether the write-ahead log was deleted under this connection; what it holds is then
        saved in the database.

        `known` belongs to the connection. It must hold the lock of a writer.
        """
        found = _identity(self._log)
        if known.setdefault("candor_log", found) == found:
            return False
        connection.rollback()
        connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
        _log.error(
            "%s was deleted while it was in use; what it held is saved in the ledger", self._log
        )
        return True


def _identity(path: Path) -> Identity:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
