"""Who reads a page: time zone, and whether there is a session.

The zone is the one that the browser names in a cookie, else UTC. Pages always say which.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, tzinfo
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from hosting.tokens import own_cookies

ZONE_COOKIE: Final = "candor_zone"  # which the browser's script sets
_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")


class Reader(NamedTuple):
    """Who reads the page: `origin` is the server's address as the browser knows it."""

    zone: tzinfo = UTC
    signed_in: bool = False
    origin: str = "http://localhost:8080"


_NOBODY: Final = Reader()
_reader: ContextVar[Reader] = ContextVar("reader", default=_NOBODY)


def reader() -> Reader:
    """Who reads the page that is being rendered; outside of a request, somebody in UTC."""
    return _reader.get()


@contextmanager
def reading(who: Reader) -> Iterator[None]:
    token = _reader.set(who)
    try:
        yield
    finally:
        _reader.reset(token)


def reader_of(scope: Mapping[str, Any], *, session_cookie: str = "") -> Reader:
    """Who sends a request, by its ASGI scope."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    cookies = own_cookies(headers.get(b"cookie", "").encode("latin-1"))
    scheme = headers.get(b"x-forwarded-proto", scope["scheme"])
    return Reader(
        zone_named(cookies.get(ZONE_COOKIE, "")),
        session_cookie in cookies,
        f"{scheme}://{headers.get(b'host', 'localhost')}",
    )


def zone_named(name: str) -> tzinfo:
    """The time zone of this name; UTC if there is none.

    >>> zone_named("UTC"), zone_named("../etc/passwd")
    (zoneinfo.ZoneInfo(key='UTC'), datetime.timezone.utc)
    """
    if not _ZONE_NAME.fullmatch(name):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, or the name of a folder of zones
        return UTC
