"""SQL that goes to SQLite's driver directly: SQLAlchemy's execution would take a third of a small commit's time."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


def run_directly(connection: Connection, sql: str, rows: Sequence[tuple[Any, ...]] | None = None) -> bool:
    """Run a statement, once for each of `rows` if they are given; False for a database that is not SQLite.

    Raises SQLAlchemy's own errors, as its execution would.
    """
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        return False
    try:
        driver.execute(sql) if rows is None else driver.executemany(sql, rows)
    except sqlite3.Error as error:
        raise DBAPIError.instance(sql, rows, error, sqlite3.Error, dialect=connection.dialect) from error
    return True
