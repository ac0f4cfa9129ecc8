"""The databases that can hold a ledger. Whatever differs between them is in its `Dialect`; nothing else asks.

Another database is one more file here and one more line in `DIALECTS`.
"""

import re

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from monitoring.errors import LedgerError
from monitoring.ledger.dialects.dialect import Claim, Dialect
from monitoring.ledger.dialects.postgresql import Postgresql
from monitoring.ledger.dialects.sqlite import Sqlite

__all__ = ["DIALECTS", "Claim", "Dialect", "dialect_of", "read_url"]

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (Sqlite(), Postgresql())}
_EXPECTED = "expected such as sqlite:///./candor.db or postgresql+psycopg://user@host/database"


def dialect_of(connection: Connection) -> Dialect:
    """Return the dialect of the database that a connection leads to."""
    return DIALECTS[connection.dialect.name]


def read_url(url: str) -> tuple[Dialect, URL]:
    """Parse and check a ledger's URL. Raises LedgerError, whose message never contains the password."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LedgerError(f"{_without_password(url)!r} is not a database URL; {_EXPECTED}.") from error
    backend = parsed.get_backend_name()
    if backend not in DIALECTS:
        raise LedgerError(f"A ledger is kept in SQLite or PostgreSQL, not {backend}; {_EXPECTED}.")
    return DIALECTS[backend], DIALECTS[backend].check_url(parsed)


def _without_password(url: str) -> str:
    return re.sub(r":[^:@]*@", ":***@", url)
