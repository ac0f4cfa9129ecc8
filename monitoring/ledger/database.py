"""The ledger's database: opening it, making or upgrading its tables, and transactions that read or write."""

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from sqlalchemy import Connection, insert, inspect, select
from sqlalchemy.exc import DatabaseError

from monitoring.errors import LedgerError
from monitoring.ledger.engine import WRITES, open_engine, read_url
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import SCHEMA_VERSION, ledger_schema, metadata
from monitoring.ledger.writer import Writer

_SHARDS = 16
_log = logging.getLogger(__name__)


class Ledger:
    """The predictions, labels and detector states of every model, in one database.

    `url` is a SQLAlchemy URL such as `sqlite:///./candor.db` (the file is made if it is not there, its folder is
    not) or `postgresql+psycopg://user@host/database`. `clock` gives nanoseconds since 1970. Safe to share between
    threads; by convention only the recorder's thread writes. A ledger of an older release is upgraded. Raises
    LedgerError when the database cannot be opened or was written by a newer release.
    """

    def __init__(self, url: str, *, clock: Callable[[], int] = time.time_ns, busy_timeout_s: float = 5.0) -> None:
        self.clock = clock
        self.url = read_url(url)
        self._engine = open_engine(self.url, busy_timeout_s=busy_timeout_s)
        self._readers, self._writers = self._engine, self._engine.execution_options(**{WRITES: True})
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        if not self.is_sqlite:
            self._readers = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.shard = 0 if self.is_sqlite else secrets.randbelow(_SHARDS)  # of the day sums, for this process
        self.upgraded_from: int | None = None  # the schema it had, if opening it changed that
        try:
            self._prepare()
        except DatabaseError as error:
            self.close()
            raise LedgerError(self._unusable(error)) from error
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """What to call it in a sentence: the file, or the URL without its password."""
        return str(self.url.database) if self.is_sqlite else self.url.render_as_string(hide_password=True)

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

    def writer(self) -> Writer:
        """For a thread that writes all the time: transactions on one connection; close it before the ledger."""
        return Writer(self._writers)

    def session(self) -> Connection:
        """A connection outside of the pool and of transactions, for a lock that ends with it; the caller closes it."""
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()
        return connection

    def close(self) -> None:
        """Close every connection; the ledger cannot be used afterwards."""
        self._engine.dispose()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        """Make the tables, or bring those of an older release up to date; all of it or nothing."""
        with self.write() as connection:
            lock(connection, Lock.SCHEMA)
            if not inspect(connection).has_table(ledger_schema.name):
                metadata.create_all(connection)
                connection.execute(insert(ledger_schema).values(version=SCHEMA_VERSION))
                return
            found = connection.scalar(select(ledger_schema.c.version))
            if found is None or found > SCHEMA_VERSION:
                raise LedgerError(
                    f"The ledger {self.name} has schema {found}, this release reads schemas up to "
                    f"{SCHEMA_VERSION}; open it with the release that wrote it, or a newer one."
                )
            if found < SCHEMA_VERSION:
                self._upgrade(connection, found)
                self.upgraded_from = found

    def _upgrade(self, connection: Connection, found: int) -> None:
        from monitoring.ledger import migrations  # Alembic is only loaded when there is something to do

        where = {"ledger": self.name, "found": found, "becomes": SCHEMA_VERSION}
        _log.warning(
            "the ledger %(ledger)s is upgraded from schema %(found)s to %(becomes)s in one transaction; an older "
            "release cannot open it afterwards, only a copy made before",
            where,
        )
        migrations.upgrade(connection, found)
        _log.warning("the ledger %(ledger)s now has schema %(becomes)s", where)

    def _unusable(self, error: DatabaseError) -> str:
        expected = (
            "give CANDOR_LEDGER a file that is a Candor ledger or does not exist yet, in a folder that can be written"
            if self.is_sqlite
            else "see that the server runs, and that this user may create tables in this database"
        )
        return f"The ledger {self.name} cannot be opened ({str(error.orig).strip()}); {expected}."
