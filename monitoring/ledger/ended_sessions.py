"""Sessions of the pages that people ended before their time, for every process on one ledger.

A session proves itself, so nobody keeps those that last: kept are the few that were ended, until
they would have ended by themselves. What is over is deleted by a time that was checked
(`monitoring.maintenance.clock`): by a clock that is ahead, a session would work again later.
"""

from threading import Lock
from typing import Final

from sqlalchemy import Connection, delete, select

from monitoring.ledger.database import Ledger, replacing
from monitoring.ledger.schema import watermark

_PREFIX: Final = "ended session "
_ENDED: Final = watermark.c.name.startswith(_PREFIX)
_KEEP: Final = replacing(watermark)


class EndedSessions:
    """Their names. Without a ledger, this process alone knows them. Raises SQLAlchemyError."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = ledger
        self._changes = Lock()
        self._names: set[str] = set()
        self.look()

    def __contains__(self, name: str) -> bool:
        return _PREFIX + name in self._names

    def end(self, name: str, *, until_ns: int) -> None:
        with self._changes:
            self._names.add(_PREFIX + name)
            if self.ledger is not None:
                with self.ledger.write() as connection:
                    _KEEP.run(connection, [(_PREFIX + name, until_ns)])

    def look(self) -> None:
        """Learn which sessions other processes ended, and forget those that are over."""
        if self.ledger is not None:
            with self._changes, self.ledger.read() as connection:
                self._names = set(connection.scalars(select(watermark.c.name).where(_ENDED)))


def drop_expired(connection: Connection, *, now_ns: int) -> None:
    """Forget the sessions that would be over by now; the time is one that was checked."""
    connection.execute(delete(watermark).where(_ENDED, watermark.c.at_ns <= now_ns))
