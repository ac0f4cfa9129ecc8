"""How each database is opened so that a commit is durable and readers never wait for writers.

SQLite runs in WAL mode with synchronous=FULL: a commit is on the disk before it returns, readers never wait for the
writer, and processes that write wait for each other instead of failing. PostgreSQL is asked for synchronous commits
whatever its default; several servers write at once, and locks.py keeps apart what must not meet.
"""

import re
import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from monitoring.errors import LedgerError
from monitoring.ledger.direct import run_directly

WRITES = "candor_writes"
_EXPECTED = "expected such as sqlite:///./candor.db or postgresql+psycopg://user@host/database"


def read_url(url: str) -> URL:
    """Parse and check a ledger's URL. Raises LedgerError, never with a password in its sentence."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LedgerError(f"{_without_password(url)!r} is not a database URL; {_EXPECTED}.") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _of_file(parsed)
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise LedgerError(f"A ledger is kept in SQLite or PostgreSQL, not {backend}; {_EXPECTED}.")


def open_engine(url: URL, *, busy_timeout_s: float) -> Engine:
    """An engine for a URL of `read_url`; a writer waits up to `busy_timeout_s` for others. Connects to nothing yet."""
    return _sqlite(url, busy_timeout_s) if url.get_backend_name() == "sqlite" else _postgresql(url, busy_timeout_s)


def _of_file(url: URL) -> URL:
    if not url.database or url.database == ":memory:":
        raise LedgerError("A ledger must outlive its process: give a file, such as sqlite:///./candor.db.")
    folder = Path(url.database).parent
    if not folder.is_dir():
        raise LedgerError(f"The ledger's folder {folder} does not exist; make it first.")
    return url


def _sqlite(url: URL, busy_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s})

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own: `_begin` does
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once; upgrading a snapshot later could fail however long it waited.
        writes = connection.get_execution_options().get(WRITES, False)
        run_directly(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL, busy_timeout_s: float) -> Engine:
    settings = {"synchronous_commit": "on", "default_transaction_isolation": r"read\ committed"}
    settings |= {"lock_timeout": f"{max(1, round(busy_timeout_s * 1000))}ms"}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    # A database whose machine is gone says nothing: ten seconds of silence end the wait for it.
    alive = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
    arguments = {"connect_timeout": 5, "application_name": "candor", "options": options} | alive
    try:
        return create_engine(url, connect_args=arguments | dict(url.query), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise LedgerError(
            "A ledger in PostgreSQL needs the driver psycopg; install it with: pip install 'candor[postgres]'."
        ) from error


def _without_password(url: str) -> str:
    return re.sub(r":[^:@]*@", ":***@", url)
