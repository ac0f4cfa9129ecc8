"""The ledger's database: opening it safely, and transactions that read or write.
 SQLite runs in WAL mode with synchronous=FULL: a commit is on the disk before it returns, readers never wait
for the writer, and two processes that write wait for each other instead of failing.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DatabaseError

from monitoring.errors import LedgerError
from monitoring.ledger.schema import SCHEMA_VERSION, ledger_schema, metadata

_WRITES = "candor_writes"
_log = logging.getLogger(__name__)


class Ledger:
    """The predictions, labels and detector states of every model, in one database.

    `url` is a SQLAlchemy URL such as `sqlite:///./candor.db`; the file is made if it is not there, its folder is not.
    `clock` gives nanoseconds since 1970. Safe to share between threads; by convention only the recorder's thread
    writes. Raises LedgerError when the database cannot be opened or was written by another release.
    """

    def __init__(self, url: str, *, clock: Callable[[], int] = time.time_ns, busy_timeout_s: float = 5.0) -> None:
        self.clock = clock
        self.url = _checked(url)
        self._readers = _engine(self.url, busy_timeout_s)
        self._writers = self._readers.execution_options(**{_WRITES: True})
        try:
            self._prepare()
        except DatabaseError as error:
            self.close()
            raise LedgerError(
                f"The ledger {self.url.database} cannot be opened ({error.orig}); give CANDOR_LEDGER a file "
                "that is a Candor ledger or does not exist yet, in a folder that can be written."
            ) from error
        except LedgerError:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot; never waits for a writer."""
        with self._readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, durable when the block ends, undone when it raises."""
        with self._writers.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection; the ledger cannot be used afterwards."""
        self._readers.dispose()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        """Make the tables, or bring those of an older release up to date; all of it or nothing."""
        with self.write() as connection:
            if not inspect(connection).has_table(ledger_schema.name):
                metadata.create_all(connection)
                connection.execute(insert(ledger_schema).values(version=SCHEMA_VERSION))
                return
            found = connection.scalar(select(ledger_schema.c.version))
            if found is None or found > SCHEMA_VERSION:
                raise LedgerError(
                    f"The ledger {self.url.database} has schema {found}, this release reads schemas up to "
                    f"{SCHEMA_VERSION}; open it with the release that wrote it, or a newer one."
                )
            if found < SCHEMA_VERSION:
                self._upgrade(connection, found)

    def _upgrade(self, connection: Connection, found: int) -> None:
        from monitoring.ledger import migrations  # Alembic is only loaded when there is something to do

        where = {"ledger": self.url.database, "found": found, "becomes": SCHEMA_VERSION}
        _log.warning(
            "the ledger %(ledger)s is upgraded from schema %(found)s to %(becomes)s in one transaction; an older "
            "release cannot open it afterwards, only a copy made before",
            where,
        )
        migrations.upgrade(connection, found)
        _log.warning("the ledger %(ledger)s now has schema %(becomes)s", where)


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LedgerError(f"{url!r} is not a database URL; expected such as sqlite:///./candor.db.") from error
    if parsed.get_backend_name() != "sqlite":
        raise LedgerError(
            f"This release keeps its ledger in SQLite, not {parsed.get_backend_name()}; give sqlite:///path."
        )
    if not parsed.database or parsed.database == ":memory:":
        raise LedgerError("A ledger must outlive its process: give a file, such as sqlite:///./candor.db.")
    folder = Path(parsed.database).parent
    if not folder.is_dir():
        raise LedgerError(f"The ledger's folder {folder} does not exist; make it first.")
    return parsed


def _engine(url: URL, busy_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s})

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own: `_begin` does
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once; upgrading a snapshot later could fail however long it waited.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
