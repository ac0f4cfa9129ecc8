"""The ledger's database: opening it, creating or upgrading its tables, and transactions."""

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from sqlalchemy import Connection, insert, inspect, select
from sqlalchemy.exc import DatabaseError

from monitoring.errors import LedgerError, LedgerReadOnly
from monitoring.ledger.dialects import Claim, ReadOnly, read_url, without_secrets
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import SCHEMA_VERSION, ledger_schema, metadata, prediction
from monitoring.ledger.writer import Writer

_log = logging.getLogger(__name__)


class Ledger:
    """The predictions, labels and detector states of every model, in one database.

    `url` is a SQLAlchemy URL such as `sqlite:///./candor.db` (the file is created if it does not
    exist, its folder is not) or `postgresql+psycopg://user@host/database`. `clock` returns
    nanoseconds since 1970. Threads may share a ledger; by convention only the recorder's thread
    writes. A ledger of an older release is upgraded. Raises LedgerError if the database cannot be
    opened or was written by a newer release, or, with `create=False`, if there is none. Nothing is
    created then. Raises LedgerReadOnly if it can only be read, unless `writable` is False: then
    every transaction only reads.
    """

    def __init__(
        self,
        url: str,
        *,
        create: bool = True,
        writable: bool = True,
        clock: Callable[[], int] = time.time_ns,
        busy_timeout_s: float = 5.0,
    ) -> None:
        self.clock = clock
        self.dialect, self.url = read_url(url)
        if not create and not self.dialect.may_hold(self.url, ledger_schema):
            raise self._missing()
        opened = self.dialect.open_engine if writable else self.dialect.open_reader
        self._engine = opened(self.url, busy_timeout_s=busy_timeout_s)
        self._readers, self._writers = (
            self.dialect.readers(self._engine),
            self.dialect.writers(self._engine),
        )
        self.shard = secrets.randbelow(
            self.dialect.shards
        )  # of the day sums that this process writes
        self.upgraded_from: int | None = None  # its schema before, if opening upgraded it
        try:
            self._prepare(create=create) if writable else self._check()
        except ReadOnly as error:
            self.close()
            raise LedgerReadOnly(self._unwritable(str(error))) from error
        except DatabaseError as error:
            self.close()
            if writable and self.dialect.refuses_writing(error):
                raise LedgerReadOnly(self._unwritable(self._reason(error))) from error
            raise LedgerError(self._unusable(error)) from error
        except BaseException:
            self.close()
            raise

    @classmethod
    def to_read(cls, url: str) -> "Ledger":
        """Open a ledger that must exist, for reports: also one that can only be read. Raises
        LedgerError.
        """
        try:
            return cls(url, create=False)
        except LedgerReadOnly:
            return cls(url, create=False, writable=False)

    @property
    def name(self) -> str:
        """Its name in messages: the file, or the URL without password and query."""
        return self.dialect.title(self.url)

    @property
    def file(self) -> Path | None:
        """The file that holds the ledger, None if a database server holds it."""
        return self.dialect.file(self.url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read one consistent snapshot; never waits for a writer."""
        with self._readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run one transaction, durable when the block ends, rolled back if it raises."""
        with self._writers.begin() as connection:
            yield connection

    def writer(self) -> Writer:
        """Return a writer that keeps one connection, for a thread that writes all the time; close
        it first.
        """
        return Writer(self._writers)

    def claim(self, namespace: int) -> Claim:
        """Return a claim on the whole ledger that at most one process holds; the caller closes
        it.
        """
        return self.dialect.claim(self._engine, namespace)

    def close(self) -> None:
        """Close every connection; the ledger cannot be used afterwards."""
        self._engine.dispose()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _missing(self) -> LedgerError:
        return LedgerError(
            f"There is no ledger {self.name}: `candor serve` and `candor monitor` make it where "
            "CANDOR_LEDGER says, "
            "and --ledger names another."
        )

    def _prepare(self, *, create: bool) -> None:
        """Create the tables, or upgrade those of an older release, in one transaction."""
        with self.write() as connection:
            lock(connection, Lock.SCHEMA)
            if not inspect(connection).has_table(ledger_schema.name):
                if not create:
                    raise self._missing()
                metadata.create_all(connection)
                connection.execute(insert(ledger_schema).values(version=SCHEMA_VERSION))
                return
            self.dialect.check_writable(connection, prediction)
            found = self._schema(connection)
            if found < SCHEMA_VERSION:
                self._upgrade(connection, found)
                self.upgraded_from = found

    def _check(self) -> None:
        """Check that there is a ledger, of this release's schema."""
        with self.read() as connection:
            if not inspect(connection).has_table(ledger_schema.name):
                raise self._missing()
            if (found := self._schema(connection)) < SCHEMA_VERSION:
                raise LedgerReadOnly(
                    f"The ledger {self.name} has schema {found} and can only be read here; run "
                    "`candor ledger upgrade` "
                    "where it can be written."
                )

    def _schema(self, connection: Connection) -> int:
        found = connection.scalar(select(ledger_schema.c.version))
        if found is None or found > SCHEMA_VERSION:
            raise LedgerError(
                f"The ledger {self.name} has schema {found}, this release reads schemas up to "
                f"{SCHEMA_VERSION}; open it with the release that wrote it, or a newer one."
            )
        return int(found)

    def _upgrade(self, connection: Connection, found: int) -> None:
        from monitoring.ledger import migrations  # loads Alembic, which is rarely needed

        where = {"ledger": self.name, "found": found, "becomes": SCHEMA_VERSION}
        _log.warning(
            "the ledger %(ledger)s is being upgraded from schema %(found)s to %(becomes)s in one "
            "transaction; "
            "older releases cannot open it afterwards, only a copy made before",
            where,
        )
        migrations.upgrade(connection, found)
        _log.warning("the ledger %(ledger)s now has schema %(becomes)s", where)

    def _unusable(self, error: DatabaseError) -> str:
        return (
            f"The ledger {self.name} cannot be opened ({self._reason(error)}); "
            f"{self.dialect.advice}."
        )

    def _unwritable(self, reason: str) -> str:
        return (
            f"The ledger {self.name} cannot be written ({reason}), and this needs to write; "
            f"{self.dialect.advice}. "
            "`candor report`, `candor ledger check` and `candor ledger export` only read it."
        )

    def _reason(self, error: DatabaseError) -> str:
        return without_secrets(str(error.orig).strip(), self.url)
