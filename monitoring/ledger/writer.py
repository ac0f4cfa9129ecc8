"""One connection for a thread that writes all the time: no checkout, reset or return between
commits.
"""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

_Result = TypeVar("_Result")


class Writer:
    """Runs transactions on one connection, and on a new one after a failure. For one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], _Result]) -> _Result:
        """Run `work` in a transaction and return its result; durable on return, rolled back if it
        raises.

        If the connection is lost before the commit (the database was restarted), nothing was
        written: `work` runs once more on a new connection. If it is lost during the commit, the
            outcome is unknown, and the error is raised.
        """
        kept = self._connection is not None
        try:
            return self._attempt(work)
        except _LostBeforeCommit as lost:
            if not kept:
                raise lost.error from lost
        try:
            return self._attempt(work)
        except _LostBeforeCommit as lost:
            raise lost.error from lost

    def close(self) -> None:
        """Close the connection; the next `run` opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate() if connection.in_transaction() else connection.close()

    def _attempt(self, work: Callable[[Connection], _Result]) -> _Result:
        committing = False
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            transaction = self._connection.begin()
            try:
                result = work(self._connection)
            except BaseException:
                transaction.rollback()
                raise
            committing = True
            transaction.commit()
        except DBAPIError as error:
            self.close()
            if error.connection_invalidated and not committing:
                raise _LostBeforeCommit(error) from error
            raise
        return result


class _LostBeforeCommit(Exception):
    def __init__(self, error: DBAPIError) -> None:
        self.error = error
        super().__init__(str(error))
