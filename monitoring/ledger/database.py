"""The ledger's database: opening it, creating its tables, transactions, and statements that are
compiled once, since building SQL costs the hot path.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    bindparam,
    delete,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError, DBAPIError

from calibration.wording import parameter
from monitoring.errors import LedgerError, LedgerNotUp, LedgerReadOnly
from monitoring.ledger.dialects import (
    DIALECTS,
    Claim,
    Dialect,
    ReadOnly,
    connecting,
    read_url,
    without_secrets,
)
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import SCHEMA_VERSION, ledger_schema, metadata, prediction

READ_S = 10.0  # that a report waits for the database, all its statements together
UPKEEP_S = 600.0  # for one statement of pruning and the like
RESTARTED_S = 0.5  # a connection that was lost sooner is one to a database that was restarted
_Result = TypeVar("_Result")


class Writer:
    """Runs transactions on one connection, and on a new one after a failure. For one thread."""

    def __init__(self, engine: Engine, *, limit: Callable[[Connection], None]) -> None:
        self._engine, self._limit = engine, limit
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], _Result]) -> _Result:
        """Run `work` in a transaction and return its result; durable on return, rolled back if it
        raises.

        If the connection is lost before the commit (the database was restarted), nothing was
        written: `work` runs once more on a new connection. If it is lost during the commit, the
            outcome is unknown, and the error is raised.
        """
        kept, begun_s = self._connection is not None, time.monotonic()
        try:
            return self._attempt(work)
        except _LostBeforeCommit as lost:
            if not kept or time.monotonic() - begun_s > RESTARTED_S:
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
            self._limit(self._connection)
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


class Ledger:
    """The predictions, labels and detector states of every model, in one database.

    `url` is a SQLAlchemy URL such as `sqlite:///./candor.db` (the file is created if it does not
    exist, its folder is not) or `postgresql+psycopg://user@host/database`. `timeout_s` bounds each
    transaction of the recorder, and a wait for another writer. `clock` returns nanoseconds since
    1970. Threads may share a ledger; by convention only the recorder's thread
    writes. Raises LedgerError if the database cannot be opened or has another schema, or, with
    `create=False`, if there is none. Nothing is created then. Raises LedgerReadOnly if it can only
    be read, unless `writable` is False: then every transaction only reads.
    """

    def __init__(
        self,
        url: str,
        *,
        create: bool = True,
        writable: bool = True,
        clock: Callable[[], int] = time.time_ns,
        timeout_s: float = 5.0,
    ) -> None:
        self._timeout_s = timeout_s
        self.clock = clock
        self.dialect, self.url = read_url(url)
        if not create and not self.dialect.may_hold(self.url, ledger_schema):
            raise self._missing()
        opened = self.dialect.open_engine if writable else self.dialect.open_reader
        self._engine = opened(self.url, timeout_s=timeout_s)
        self._readers = self.dialect.readers(self._engine)
        self._writers = self.dialect.writers(self._engine)
        # of the day sums that this process writes
        self.shard = secrets.randbelow(self.dialect.shards)
        try:
            self._prepare(create=create) if writable else self._check()
        except ReadOnly as error:
            self.close()
            raise LedgerReadOnly(self._unwritable(str(error))) from error
        except DatabaseError as error:
            self.close()
            if writable and self.dialect.refuses_writing(error):
                raise LedgerReadOnly(self._unwritable(self._reason(error))) from error
            refusal = LedgerNotUp if self.dialect.is_not_up(error) else LedgerError
            raise refusal(self._unusable(error)) from error
        except BaseException:
            self.close()
            raise

    @classmethod
    def to_read(cls, url: str) -> "Ledger":
        """Open a ledger that exists, for reports, even a read-only one. Raises LedgerError."""
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
    def read(self, *, limit_s: float | None = None) -> Iterator[Connection]:
        """Read one consistent snapshot; never waits for a writer. Raises SQLAlchemyError, also if
        the database kept this waiting for `limit_s`, by default READ_S, the time for a connection
        included.
        """
        ends_s = time.monotonic() + (READ_S if limit_s is None else limit_s)
        with connecting.until(ends_s):
            connected = self._readers.connect()
        with connected as connection, connection.begin():
            self.dialect.limit(connection, max(ends_s - time.monotonic(), 0.0), waits=True)
            yield connection

    def survey(self) -> AbstractContextManager[Connection]:
        """Read all of it, as upkeep does, which may take minutes."""
        return self.read(limit_s=UPKEEP_S)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run one transaction, durable when the block ends, rolled back if it raises."""
        with self._writers.begin() as connection:
            self.dialect.limit(connection, UPKEEP_S)
            yield connection

    def writer(self) -> Writer:
        """Return a writer that keeps one connection; close it before the ledger."""
        limit = partial(self.dialect.limit, limit_s=self._timeout_s, whole=True)
        return Writer(self._writers, limit=limit)

    def probe(self) -> None:
        """Commit a change of nothing. Raises SQLAlchemyError if that fails or takes too long.

        Reading would succeed where a commit waits for a standby. The server goes on with a commit
        whose client has given up; the next one waits for its row, fails, and leaves no session.
        """
        with closing(self.writer()) as writer:
            same = update(ledger_schema).values(version=ledger_schema.c.version)
            writer.run(lambda connection: connection.execute(same))

    def claim(self, namespace: int) -> Claim:
        """Return a claim that at most one process holds; the caller closes it."""
        return self.dialect.claim(self._engine, namespace)

    def close(self) -> None:
        """Close every connection; the ledger cannot be used afterwards."""
        self._engine.dispose()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _missing(self) -> LedgerError:
        return LedgerError(
            f"There is no ledger {self.name}: `candor serve` and `candor monitor` make it where "
            f"CANDOR_LEDGER says, and {parameter('ledger')} names another."
        )

    def _prepare(self, *, create: bool) -> None:
        """Check the schema of a ledger that is there; else create its tables, all or none."""
        with self.write() as connection:
            lock(connection, Lock.SCHEMA)
            if inspect(connection).has_table(ledger_schema.name):
                self._check_schema(connection)
                self.dialect.check_writable(connection, prediction)
            elif create:
                metadata.create_all(connection)
                connection.execute(insert(ledger_schema).values(version=SCHEMA_VERSION))
            else:
                raise self._missing()

    def _check(self) -> None:
        """Check that there is a ledger, of this release's schema."""
        with self.read() as connection:
            if not inspect(connection).has_table(ledger_schema.name):
                raise self._missing()
            self._check_schema(connection)

    def _check_schema(self, connection: Connection) -> None:
        found = connection.scalar(select(ledger_schema.c.version))
        if found != SCHEMA_VERSION:
            raise LedgerError(
                f"The ledger {self.name} has schema {found}, and this release of Candor uses "
                f"schema {SCHEMA_VERSION}. Open it with the release that wrote it, or set "
                "CANDOR_LEDGER to a new ledger."
            )

    def _unusable(self, error: DatabaseError) -> str:
        return (
            f"The ledger {self.name} cannot be opened ({self._reason(error)}); "
            f"{self.dialect.advice}."
        )

    def _unwritable(self, reason: str) -> str:
        return (
            f"The ledger {self.name} cannot be written ({reason}), and this needs to write; "
            f"{self.dialect.advice}. `candor report`, `candor ledger check` and `candor ledger "
            "export` only read it."
        )

    def _reason(self, error: DatabaseError) -> str:
        return without_secrets(str(error.orig).strip(), self.url)


IN_LIST_LIMIT: Final = 500  # parameters in one IN list
_Value = TypeVar("_Value")


class Statement:
    """A statement that is run once for each row of its parameters. Rows that follow each other are
    often equal in the parameters `often_same`.
    """

    def __init__(
        self, build: Callable[[Dialect], Any], *, often_same: tuple[int, ...] = ()
    ) -> None:
        self._build, self._often_same = build, often_same
        self._sql: dict[Dialect, str] = {}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            dialect = DIALECTS[connection.dialect.name]
            sql = self._sql.get(dialect) or self._compile(dialect, connection)
            dialect.run_many(connection, sql, rows, often_same=self._often_same)

    def _compile(self, dialect: Dialect, connection: Connection) -> str:
        compiler: Any = type(connection.dialect)
        compiled = self._build(dialect).compile(dialect=compiler(paramstyle=dialect.paramstyle))
        sql = self._sql[dialect] = str(compiled)
        return sql


def in_lists(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """Yield the values in portions that are short enough for an IN list."""
    return (values[start : start + IN_LIST_LIMIT] for start in range(0, len(values), IN_LIST_LIMIT))


def inserting(
    table: Table, *, columns: Sequence[str] = (), often_same: Sequence[str] = ()
) -> Statement:
    """Return an INSERT of new rows with these columns, by default all; an existing key raises
    IntegrityError.
    """
    names = columns or table.columns.keys()
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return Statement(
        lambda dialect: dialect.insert(table).values(values),
        often_same=tuple(map(names.index, often_same)),
    )


def updating(table: Table, columns: Sequence[str]) -> Statement:
    """Return an UPDATE of these columns in the row of a key, the last parameter."""
    (key,) = table.primary_key
    values: list[Any] = [(table.c[name], bindparam(f"new_{name}")) for name in columns]
    changed = update(table).ordered_values(*values).where(key == bindparam("of_key"))
    return Statement(lambda _: changed)


def deleting(table: Table, names: Sequence[str], condition: ColumnElement[bool]) -> Statement:
    """Return a DELETE of the rows with these values, the parameters, that meet the condition."""
    same = [table.c[name] == bindparam(f"of_{name}") for name in names]
    return Statement(lambda _: delete(table).where(*same, condition))


def replacing(table: Table) -> Statement:
    """Return an INSERT that replaces the values of existing keys."""
    return _upserting(table, lambda _old, new: new)


def adding(table: Table) -> Statement:
    """Return an INSERT that adds to the values of existing keys."""
    return _upserting(table, lambda old, new: old + new)


def _upserting(table: Table, join: Callable[[Any, Any], ColumnElement[Any]]) -> Statement:
    values = [column for column in table.columns if not column.primary_key]

    def build(dialect: Dialect) -> Any:
        insert = dialect.insert(table)
        joined = {column.name: join(column, insert.excluded[column.name]) for column in values}
        return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=joined)

    return Statement(build)
