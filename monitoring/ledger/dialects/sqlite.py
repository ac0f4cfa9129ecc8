"""A ledger in a SQLite file: one writer at a time, so locks between writers are not needed.

WAL mode with synchronous=FULL: a commit is on the disk before it returns, readers never wait for
the writer, and processes that write wait for each other instead of failing.

A file that was deleted or replaced is noticed. SQLite would go on writing to a file that has no
name any more: every commit succeeds, and is gone when the process ends.
"""

import contextlib
import fcntl
import itertools
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError, DBAPIError, StatementError
from sqlalchemy.pool import NullPool

from monitoring.errors import LedgerError
from monitoring.ledger.dialects.dialect import Dialect
from monitoring.ledger.schema import feedback, monitor_state

Identity: TypeAlias = tuple[int, int] | None  # device and inode; None: there is no such file


class OpenDatabase:
    """The database that this process opened at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: Identity = None

    def check(self) -> None:
        """Raise sqlite3.OperationalError unless the path leads to the database opened first."""
        found = _identity(self._path)
        if self._database is None:
            self._database = found
        elif found != self._database:
            raise sqlite3.OperationalError(
                f"{self._path} was deleted or replaced while it was in use. Put the file back, or "
                "restart Candor to go on with what is there now; until then nothing is written"
            )


def _identity(path: Path) -> Identity:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_READ_ONLY = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
_WRITES = "candor_writes"  # execution option of transactions that write
_TOGETHER = 14  # rows of one INSERT, which take a quarter less time than in one for each
_VALUES = re.compile(r"(?<= VALUES )(\([^)]*\))")
_FEEDBACK_IDS = (feedback.c.feedback_id, monitor_state.c.last_feedback_id)


class Sqlite(Dialect):
    """SQLite through the driver of Python's standard library."""

    name = "sqlite"
    paramstyle = "qmark"
    many_writers = False
    shards = 1
    advice = (
        "give CANDOR_LEDGER a file that is a Candor ledger or does not exist yet, in a folder "
        "that can be written"
    )

    def check_url(self, url: URL) -> URL:
        if not url.database or url.database == ":memory:":
            raise LedgerError(
                "A ledger must outlive its process: give a file, such as sqlite:///./candor.db."
            )
        folder = Path(url.database).parent
        if not folder.is_dir():
            raise LedgerError(f"The ledger's folder {folder} does not exist; make it first.")
        return url

    def open_engine(self, url: URL, *, timeout_s: float) -> Engine:
        engine = create_engine(url, connect_args={"timeout": timeout_s})
        database = OpenDatabase(self.file(url))

        @event.listens_for(engine, "connect")
        def _connect(connection: sqlite3.Connection, _record: object) -> None:
            database.check()  # before a deleted file is made again, without its answers
            connection.isolation_level = (
                None  # the driver must not open transactions of its own: `_begin` does
            )
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000"):
                connection.execute(f"PRAGMA {pragma}")
            database.check()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            # A writer takes the lock at once; upgrading a snapshot later could fail however long it
            # waited.
            writes = connection.get_execution_options().get(_WRITES, False)
            try:
                database.check()
            except sqlite3.OperationalError as error:
                raise _as_sqlalchemy(connection, "BEGIN", None, error) from error
            _run(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def open_reader(self, url: URL, *, timeout_s: float) -> Engine:
        # Without a pool, because whether somebody writes is asked again by each connection.
        engine = create_engine(
            url, creator=partial(_open_to_read, self.file(url), timeout_s), poolclass=NullPool
        )
        event.listen(engine, "begin", lambda connection: _run(connection, "BEGIN"))
        return engine

    def check_writable(self, connection: Connection, table: Table) -> None:
        # BEGIN IMMEDIATE alone passes
        connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE 0")

    def refuses_writing(self, error: DatabaseError) -> bool:
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _READ_ONLY

    def readers(self, engine: Engine) -> Engine:
        return engine

    def writers(self, engine: Engine) -> Engine:
        return engine.execution_options(**{_WRITES: True})

    def title(self, url: URL) -> str:
        return str(url.database)

    def file(self, url: URL) -> Path:
        return Path(str(url.database))

    def may_hold(self, url: URL, table: Table) -> bool:
        file = self.file(url)
        if not file.is_file():
            return False
        try:
            with contextlib.closing(
                sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
            ) as connection:
                found = connection.execute(
                    "SELECT 1 FROM sqlite_master WHERE name = ?", (table.name,)
                ).fetchone()
        except sqlite3.Error:  # whoever opens it for good learns why
            return True
        return found is not None

    def insert(self, table: Table) -> Any:
        return insert(table)

    def position(self, text: ColumnElement[str], part: str) -> ColumnElement[int]:
        return func.instr(text, part)

    def run_many(
        self,
        connection: Connection,
        sql: str,
        rows: Sequence[tuple[Any, ...]],
        *,
        often_same: tuple[int, ...] = (),
    ) -> None:
        whole = len(rows) - len(rows) % _TOGETHER if _VALUES.search(sql) else 0
        portions = (rows[start : start + _TOGETHER] for start in range(0, whole, _TOGETHER))
        inserts = [_as_one(sql, portion, often_same) for portion in portions]
        for statement, same in itertools.groupby(inserts, key=itemgetter(0)):
            _run(connection, statement, [parameters for _, parameters in same])
        _run(connection, sql, rows[whole:])

    def next_feedback_ids(self, connection: Connection, count: int) -> Iterator[int]:
        # A detector may remember a label that was erased since; its id must not be used again.
        used = (select(func.max(column)).scalar_subquery() for column in _FEEDBACK_IDS)
        last = max((number or 0 for number in connection.execute(select(*used)).one()), default=0)
        return itertools.islice(itertools.count(last + 1), count)

    def lock(
        self, connection: Connection, namespace: int, key: int, *, shared: bool = False
    ) -> None:
        """Do nothing: the transaction is the only one that writes."""

    def lock_tables(self, connection: Connection, tables: Sequence[Table]) -> None:
        """Do nothing, as for `lock`."""

    def claim(self, engine: Engine, namespace: int) -> "FileClaim":
        return FileClaim(Path(f"{engine.url.database}.lead"))

    def overwrite_deleted(self, connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA secure_delete = ON")

    def scrub_log(self, url: URL) -> None:
        connection = sqlite3.connect(str(url.database))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()


def _open_to_read(file: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection that writes nothing, not even beside the file, where that is possible."""
    uri = f"{file.resolve().as_uri()}?mode=ro"
    try:
        return _readable(uri, timeout_s)
    except sqlite3.OperationalError:
        log = file.with_name(f"{file.name}-wal")
        if (
            log.exists() and log.stat().st_size
        ):  # a server writes, or ended without closing the ledger
            raise
        return _readable(f"{uri}&immutable=1", timeout_s)  # nobody has it open, so nothing changes


def _readable(uri: str, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=timeout_s, check_same_thread=False, isolation_level=None
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class FileClaim:
    """A lock on a file, which the kernel releases with the process. The file stays, empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def held(self) -> bool:
        if self._file is None:
            file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            except OSError:  # a file system without locks, which is asked again every second
                os.close(file)
                raise
            else:
                self._file = file
        return self._file is not None

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _as_one(
    sql: str, rows: Sequence[tuple[Any, ...]], often_same: tuple[int, ...]
) -> tuple[str, tuple[Any, ...]]:
    """Return the INSERT of _TOGETHER rows, and its parameters. If the rows have the same in these
    columns, it is given once: handing parameters over takes half of the time.
    """
    columns = list(zip(*rows, strict=True))
    if not all(columns[number].count(rows[0][number]) == _TOGETHER for number in often_same):
        often_same = ()
    for number in often_same:
        columns[number] = columns[number][:1]
    return _of_together(sql, len(columns), often_same), tuple(itertools.chain(*columns))


@cache
def _of_together(sql: str, width: int, same: tuple[int, ...]) -> str:
    begin, _, end = _VALUES.split(sql)
    numbers = itertools.count(1)
    columns = [
        [f"?{next(numbers)}"] * _TOGETHER
        if column in same
        else [f"?{next(numbers)}" for _ in range(_TOGETHER)]
        for column in range(width)
    ]
    return begin + ", ".join(f"({', '.join(row)})" for row in zip(*columns, strict=True)) + end


def _run(connection: Connection, sql: str, rows: Sequence[tuple[Any, ...]] | None = None) -> None:
    """Run SQL in the driver; SQLAlchemy would add a third to the time of a small commit."""
    driver = _driver(connection)
    try:
        driver.execute(sql) if rows is None else driver.executemany(sql, rows)
    except sqlite3.Error as error:
        raise _as_sqlalchemy(connection, sql, rows, error) from error


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _as_sqlalchemy(
    connection: Connection, sql: str, rows: Any, error: sqlite3.Error
) -> StatementError:
    return DBAPIError.instance(
        sql,
        rows,
        error,
        sqlite3.Error,
        dialect=connection.dialect,
    )
