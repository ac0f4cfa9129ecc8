"""Who reads a page: time zone, address, and whether there is a session.

The zone is the one that the reader chose, else the one that the browser names in a cookie, else
UTC. Pages always say which.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, tzinfo
from functools import cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from serving.http.tokens import own_cookies

ZONE_COOKIE: Final = "candor_zone"  # which the browser's script sets
CHOSEN_ZONE_COOKIE: Final = "candor_chosen_zone"
_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")
_REGIONS: Final = frozenset(
    (
        *("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic"),
        *("Australia", "Europe", "Indian", "Pacific"),
    )
)


class Reader(NamedTuple):
    """Who reads the page: `origin` is the server's address as the browser knows it."""

    zone: tzinfo = UTC
    address: str = "/"
    signed_in: bool = False
    origin: str = "http://localhost:8080"
    zone_is_chosen: bool = False

    @property
    def zone_name(self) -> str:
        """The name of the time zone, such as Europe/Berlin."""
        return str(self.zone)


_NOBODY: Final = Reader()
_reader: ContextVar[Reader] = ContextVar("reader", default=_NOBODY)


def reader() -> Reader:
    """Who reads the page that is being rendered; outside of a request, somebody in UTC."""
    return _reader.get()


@contextmanager
def reading(who: Reader) -> Iterator[None]:
    """Render pages for this reader meanwhile."""
    token = _reader.set(who)
    try:
        yield
    finally:
        _reader.reset(token)


def reader_of(scope: Mapping[str, Any], *, session_cookie: str = "") -> Reader:
    """Who sends a request, by its ASGI scope."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    cookies = own_cookies(headers.get(b"cookie", "").encode("latin-1"))
    chosen = cookies.get(CHOSEN_ZONE_COOKIE, "")
    query = scope["query_string"].decode("latin-1")
    scheme = headers.get(b"x-forwarded-proto", scope["scheme"])
    return Reader(
        zone_named(chosen or cookies.get(ZONE_COOKIE, "")),
        scope["path"] + (f"?{query}" if query else ""),
        session_cookie in cookies,
        f"{scheme}://{headers.get(b'host', 'localhost')}",
        bool(chosen),
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


@cache
def zone_names() -> tuple[str, ...]:
    """The time zones to choose from; none where the system has no list of them.

    >>> "Europe/Berlin" in zone_names(), "Etc/GMT+3" in zone_names()
    (True, False)
    """
    names = sorted(available_timezones())
    return tuple(name for name in names if "/" in name and name.partition("/")[0] in _REGIONS)
