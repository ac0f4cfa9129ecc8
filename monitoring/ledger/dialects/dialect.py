"""`Dialect`: everything that differs between the databases that can hold a ledger."""

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from sqlalchemy import URL, ColumnElement, Connection, Engine, Table
from sqlalchemy.exc import DatabaseError


class Claim(Protocol):
    """A claim that at most one process holds; it ends with the process."""

    def held(self) -> bool:
        """Take the claim if nobody has it; return whether this process has it now."""

    def close(self) -> None:
        """Give the claim up."""


class Connecting(threading.local):
    """When this thread gives up to wait for a connection, by the monotonic clock: for a new one, or
    for the sign of life of one that was used before.
    """

    ends_s = math.inf

    @contextmanager
    def until(self, ends_s: float) -> Iterator[None]:
        self.ends_s = ends_s
        try:
            yield
        finally:
            self.ends_s = math.inf


connecting = Connecting()


class ReadOnly(Exception):
    """The database can only be read. The text says why."""


class Dialect(ABC):
    """One kind of database. Instances have no state."""

    name: ClassVar[str]  # SQLAlchemy's name of the backend
    paramstyle: ClassVar[Any]  # positional, so that rows can be passed as plain tuples
    many_writers: ClassVar[bool]  # whether others can write to the database during a transaction
    shards: ClassVar[int]  # rows per day sum, so that writers rarely wait for each other
    advice: ClassVar[str]  # what to do about a database that cannot be opened

    @abstractmethod
    def check_url(self, url: URL) -> URL:
        """Return the URL to connect to. Raises LedgerError."""

    @abstractmethod
    def open_engine(self, url: URL, *, timeout_s: float) -> Engine:
        """Return an engine with durable commits; a writer waits up to `timeout_s`."""

    @abstractmethod
    def open_reader(self, url: URL, *, timeout_s: float) -> Engine:
        """Return an engine that can only read. Connects to nothing."""

    def limit(  # noqa: B027
        self, connection: Connection, limit_s: float, *, whole: bool = False, waits: bool = False
    ) -> None:
        """Fail statements of `connection` that get no answer for `limit_s`, until it is returned
        to its pool; all from now on together if `whole`, their waits together if `waits`. Without a
        server nothing can be silent.
        """

    @abstractmethod
    def check_writable(self, connection: Connection, table: Table) -> None:
        """Raise ReadOnly if this transaction may not write to `table`."""

    @abstractmethod
    def refuses_writing(self, error: DatabaseError) -> bool:
        """Return whether the database refused to write, and might still be read."""

    def is_not_up(self, error: DatabaseError) -> bool:
        """Return whether the database takes no connections, which may change within a minute."""
        return False

    @abstractmethod
    def readers(self, engine: Engine) -> Engine:
        """Return an engine whose transactions read one snapshot and never wait for a writer."""

    @abstractmethod
    def writers(self, engine: Engine) -> Engine:
        """Return an engine whose transactions write."""

    @abstractmethod
    def title(self, url: URL) -> str:
        """Return the database's name for a sentence, without a password."""

    @abstractmethod
    def file(self, url: URL) -> Path | None:
        """Return the file that holds the ledger, None if a server holds it."""

    @abstractmethod
    def may_hold(self, url: URL, table: Table) -> bool:
        """Return False if the database certainly has no such table. Creates and changes nothing."""

    @abstractmethod
    def insert(self, table: Table) -> Any:
        """Return SQLAlchemy's INSERT that has `on_conflict_do_update`."""

    @abstractmethod
    def position(self, text: ColumnElement[str], part: str) -> ColumnElement[int]:
        """Return where `part` begins in `text`, from 1; 0 if it is not there. Case counts."""

    @abstractmethod
    def run_many(
        self,
        connection: Connection,
        sql: str,
        rows: Sequence[tuple[Any, ...]],
        *,
        often_same: tuple[int, ...] = (),
    ) -> None:
        """Run a statement once for each row. `often_same`: columns in which rows that follow each
        other are often equal.
        """

    @abstractmethod
    def next_feedback_ids(self, connection: Connection, count: int) -> Iterator[int]:
        """Return ascending ids for labels, above all committed ones of the versions locked."""

    @abstractmethod
    def lock(
        self, connection: Connection, namespace: int, key: int, *, shared: bool = False
    ) -> None:
        """Wait for an advisory lock and hold it until the transaction ends."""

    @abstractmethod
    def lock_tables(self, connection: Connection, tables: Sequence[Table]) -> None:
        """Keep other writers, not readers, from these tables until the transaction ends."""

    @abstractmethod
    def claim(self, engine: Engine, namespace: int) -> Claim:
        """Return a claim on the whole ledger, not held yet."""

    @abstractmethod
    def overwrite_deleted(self, connection: Connection) -> None:
        """Have the transaction's deletions overwrite the data as soon as the database can."""

    @abstractmethod
    def scrub_log(self, url: URL) -> None:
        """Remove what was deleted from the write-ahead log, if that is up to the client."""
