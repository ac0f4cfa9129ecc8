"""A ledger in PostgreSQL: several servers write at once, kept apart by advisory locks.

Commits are synchronous whatever the server's default.
"""

import logging
import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

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
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from model_store.installation import install_command
from monitoring.errors import LedgerDriverMissing
from monitoring.ledger.dialects.dialect import Dialect, ReadOnly
from monitoring.ledger.schema import feedback_number

# A read-only transaction, a missing privilege, and a lock that a replica in recovery cannot give.
_READ_ONLY: Final = frozenset({"25006", "42501", "55000"})
# What a connection meets while a server, its machine or its name is coming up.
_NOT_UP: Final = re.compile(
    "the database system is|Connection refused|timeout|timed out|resolve host|No such file"
)
_log = logging.getLogger(__name__)


# The server ends the session of a client whose machine is gone, and with it the locks of its
# transaction, after eleven seconds of silence. By itself it would wait for two hours, and everybody
# who needs those locks with it.
_CUT_OFF: Final = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "11000",
}


class Postgresql(Dialect):
    name = "postgresql"
    paramstyle = "format"
    many_writers = True
    shards = 16
    advice = "see that the server runs, and that this user may create tables in this database"

    def check_url(self, url: URL) -> URL:
        return url.set(drivername="postgresql+psycopg")

    def open_engine(self, url: URL, *, timeout_s: float) -> Engine:
        return self._open(url, timeout_s)

    def open_reader(self, url: URL, *, timeout_s: float) -> Engine:
        return self._open(url, timeout_s, default_transaction_read_only="on")

    def check_writable(self, connection: Connection, table: Table) -> None:
        if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar():
            raise ReadOnly("this server is a replica")
        if connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
            raise ReadOnly("transactions are read-only here")
        asked = "SELECT has_table_privilege(%s, 'INSERT')"
        if not connection.exec_driver_sql(asked, (table.name,)).scalar():
            raise ReadOnly(f"this user may not insert into {table.name}")

    def refuses_writing(self, error: DatabaseError) -> bool:
        return getattr(error.orig, "sqlstate", None) in _READ_ONLY

    def is_not_up(self, error: DatabaseError) -> bool:
        return _NOT_UP.search(str(error.orig)) is not None

    def _open(self, url: URL, timeout_s: float, **more: str) -> Engine:
        settings = {"synchronous_commit": "on", "default_transaction_isolation": r"read\ committed"}
        settings |= {"lock_timeout": f"{max(1, round(timeout_s * 1000))}ms"} | _CUT_OFF | more
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        # A database whose machine is gone says nothing: ten seconds of silence end the wait for it.
        alive = {
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
        # A cluster that was made without a locale has no encoding (SQL_ASCII), and psycopg would
        # return bytes.
        text = {"client_encoding": "utf8"}
        arguments = (
            {
                "connect_timeout": max(2, round(timeout_s)),
                "application_name": "candor",
                "options": options,
            }
            | text
            | alive
        )
        try:
            from monitoring.ledger.dialects.bounded_psycopg import connect
        except ImportError as error:
            raise LedgerDriverMissing(
                "A ledger in PostgreSQL needs the driver psycopg",
                install=install_command("postgres"),
            ) from error
        engine = create_engine(
            url,
            connect_args=arguments | dict(url.query),
            pool_pre_ping=True,
            pool_timeout=timeout_s,
        )
        event.listen(engine, "do_connect", connect)
        event.listen(engine, "checkin", lambda driver, _: self._set_limit(driver, timeout_s))
        return engine

    @staticmethod
    def _set_limit(
        driver: Any, limit_s: float, *, whole: bool = False, waits: bool = False
    ) -> None:
        if driver is not None:  # a connection that is lost has none
            driver.limit_s = limit_s
            driver.left_s = limit_s if waits else math.inf
            driver.ends_s = time.monotonic() + limit_s if whole else math.inf

    def limit(
        self, connection: Connection, limit_s: float, *, whole: bool = False, waits: bool = False
    ) -> None:
        driver = connection.connection.driver_connection
        self._set_limit(driver, limit_s, whole=whole, waits=waits)

    def readers(self, engine: Engine) -> Engine:
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def writers(self, engine: Engine) -> Engine:
        return engine

    def title(self, url: URL) -> str:
        if "@" in (url.database or ""):  # of a password that is not quoted, and its rest the host
            url = url.set(host="***")
        return url.set(query={}).render_as_string(hide_password=True)

    def file(self, url: URL) -> None:
        return None

    def may_hold(self, url: URL, table: Table) -> bool:
        return True  # connecting creates nothing, so that is seen later

    def insert(self, table: Table) -> Any:
        return insert(table)

    def position(self, text: ColumnElement[str], part: str) -> ColumnElement[int]:
        return func.strpos(text, part)

    def run_many(
        self,
        connection: Connection,
        sql: str,
        rows: Sequence[tuple[Any, ...]],
        *,
        often_same: tuple[int, ...] = (),
    ) -> None:
        connection.exec_driver_sql(sql, list(rows))

    def next_feedback_ids(self, connection: Connection, count: int) -> Iterator[int]:
        series = func.generate_series(1, count).table_valued("position")
        return iter(
            sorted(connection.scalars(select(feedback_number.next_value()).select_from(series)))
        )

    def lock(
        self, connection: Connection, namespace: int, key: int, *, shared: bool = False
    ) -> None:
        function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        connection.exec_driver_sql(f"SELECT {function}(%s, %s)", (namespace, key))

    def lock_tables(self, connection: Connection, tables: Sequence[Table]) -> None:
        names = ", ".join(table.name for table in tables)
        connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")

    def claim(self, engine: Engine, namespace: int) -> "SessionClaim":
        return SessionClaim(engine, namespace)

    def overwrite_deleted(self, connection: Connection) -> None:
        """Do nothing: VACUUM removes deleted rows in its own time."""

    def scrub_log(self, url: URL) -> None:
        """Do nothing: the server recycles its log."""


class SessionClaim:
    """An advisory lock of a separate session, held as long as the session answers."""

    # A holder whose machine is gone closes no connection: the server ends its session after eight
    # seconds of silence.
    _KEEPALIVE = (
        "tcp_keepalives_idle = 2",
        "tcp_keepalives_interval = 2",
        "tcp_keepalives_count = 3",
        "tcp_user_timeout = 8000",
    )

    def __init__(self, engine: Engine, namespace: int) -> None:
        self._engine = engine
        self._namespace = namespace
        self._session: Connection | None = None
        self._locked = False

    def held(self) -> bool:
        try:
            if self._session is None:
                self._session = self._engine.connect().execution_options(
                    isolation_level="AUTOCOMMIT"
                )
                self._session.detach()  # the pool must not hand this connection to anybody else
                for setting in self._KEEPALIVE:
                    self._session.exec_driver_sql(f"SET {setting}")
            if self._locked:
                self._session.exec_driver_sql("SELECT 1")
            else:
                wanted = "SELECT pg_try_advisory_lock(%s, 0)"
                self._locked = bool(
                    self._session.exec_driver_sql(wanted, (self._namespace,)).scalar()
                )
        except SQLAlchemyError as error:
            _log.warning("the ledger cannot be asked which process leads: %s", error)
            self.close()
        return self._locked

    def close(self) -> None:
        session, self._session, self._locked = self._session, None, False
        if session is not None:
            with suppress(SQLAlchemyError):  # a broken session is one reason to be here
                session.close()
