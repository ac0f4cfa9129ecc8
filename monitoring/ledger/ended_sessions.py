"""Sessions of the pages that people ended before their time, for every process on one ledger.

A session proves itself, so nobody keeps those that last: kept are the few that were ended, until
they would have ended by themselves.
"""

from typing import Final

from sqlalchemy import delete, select

from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import watermark
from monitoring.ledger.statement import replacing

_PREFIX: Final = "ended session "
_KEEP: Final = replacing(watermark)


class EndedSessions:
    """Their names. Without a ledger, this process alone knows them. Raises SQLAlchemyError."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = ledger
        self._until_ns: dict[str, int] = {}
        self.look()

    def __contains__(self, name: str) -> bool:
        return _PREFIX + name in self._until_ns

    def end(self, name: str, *, until_ns: int, now_ns: int) -> None:
        """End a session that would last until then; what is over by now is forgotten."""
        self._until_ns[_PREFIX + name] = until_ns
        for old in [each for each, ends_ns in [*self._until_ns.items()] if ends_ns < now_ns]:
            self._until_ns.pop(old, None)
        if self.ledger is not None:
            over = watermark.c.name.startswith(_PREFIX) & (watermark.c.at_ns < now_ns)
            with self.ledger.write() as connection:
                connection.execute(delete(watermark).where(over))
                _KEEP.run(connection, [(_PREFIX + name, until_ns)])

    def look(self) -> None:
        """Learn which sessions other processes ended."""
        if self.ledger is not None:
            ended = select(watermark).where(watermark.c.name.startswith(_PREFIX))
            with self.ledger.read() as connection:
                self._until_ns.update(dict(connection.execute(ended).all()))
