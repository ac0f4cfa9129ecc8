"""The databases that can hold a ledger. Whatever differs between them is in its `Dialect`; nothing
else asks.

Another database is one more file here and one more line in `DIALECTS`.
"""

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from monitoring.errors import LedgerError
from monitoring.ledger.dialects.dialect import Claim, Dialect, ReadOnly, connecting
from monitoring.ledger.dialects.postgresql import Postgresql
from monitoring.ledger.dialects.sqlite import Sqlite

__all__ = [
    "DIALECTS",
    "Claim",
    "Dialect",
    "ReadOnly",
    "connecting",
    "dialect_of",
    "read_url",
    "without_secrets",
]

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (Sqlite(), Postgresql())}
_EXPECTED = "expected such as sqlite:///./candor.db or postgresql+psycopg://user@host/database"


def dialect_of(connection: Connection) -> Dialect:
    return DIALECTS[connection.dialect.name]


def read_url(url: str) -> tuple[Dialect, URL]:
    """Parse and check a ledger's URL. Raises LedgerError, which repeats only its backend."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port is not a number
        raise LedgerError(f"The ledger's address is not a database URL; {_EXPECTED}.") from None
    backend = parsed.get_backend_name()
    if backend not in DIALECTS:
        raise LedgerError(f"A ledger is kept in SQLite or PostgreSQL, not {backend}; {_EXPECTED}.")
    if "@" in (parsed.host or ""):
        raise LedgerError(
            "The ledger's URL has more than one @; write an @ in the user's name or password as "
            "%40."
        )
    return DIALECTS[backend], DIALECTS[backend].check_url(parsed)


def without_secrets(text: str, url: URL) -> str:
    """The text without a URL's password and query, which drivers may repeat."""
    queried = [
        each
        for value in url.query.values()
        for each in ([value] if isinstance(value, str) else value)
    ]
    for secret in sorted({url.password or "", *queried} - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
