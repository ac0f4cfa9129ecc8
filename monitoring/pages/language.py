"""The language of whoever reads a page, and how numbers and times are written in it.

A reader chooses a language (a cookie), or the browser names it (Accept-Language). Texts of
templates are looked up in catalogs, `locale/LANGUAGE/LC_MESSAGES/candor.po`. Sentences that
findings make stay English and are marked so, because a translation that misses a condition could
mislead who acts on it.

Times are in the time zone that the reader chose, else in the one that the browser names in a
cookie, else in UTC, and always say which.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, tzinfo
from functools import cache
from gettext import GNUTranslations, NullTranslations
from http.cookies import CookieError, SimpleCookie
from importlib.resources import files
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

LANGUAGE_COOKIE: Final = "candor_language"
ZONE_COOKIE: Final = "candor_zone"  # which the browser's script sets
CHOSEN_ZONE_COOKIE: Final = "candor_chosen_zone"
DOMAIN: Final = "candor"
_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")
_REGIONS: Final = frozenset(
    (
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    )
)
_SWAPPED: Final = str.maketrans(".,", ",.")


class Language(NamedTuple):
    """A language of the pages: its code, its name in itself, its date, and whether its decimal mark
    is a comma.
    """

    code: str
    name: str
    date: str
    decimal_comma: bool


LANGUAGES: Final = (
    Language("en", "English", "%Y-%m-%d", False),
    Language("de", "Deutsch", "%d.%m.%Y", True),
)
_BY_CODE: Final = {each.code: each for each in LANGUAGES}


class Reader(NamedTuple):
    """Who reads the page: language, time zone, the address asked for, whether there is a session,
    and the server.
    """

    language: Language = LANGUAGES[0]
    zone: tzinfo = UTC
    address: str = "/"
    signed_in: bool = False
    origin: str = "http://localhost:8080"
    zone_is_chosen: bool = False

    @property
    def zone_name(self) -> str:
        """The name of the time zone, such as Europe/Berlin."""
        return str(self.zone)

    @property
    def other_languages(self) -> tuple[Language, ...]:
        """The languages to choose from."""
        return tuple(each for each in LANGUAGES if each is not self.language)


_reader: ContextVar[Reader | None] = ContextVar("reader", default=None)
_NOBODY: Final = Reader()


def reader() -> Reader:
    """Who reads the page that is being rendered; outside of a request, English and UTC."""
    return _reader.get() or _NOBODY


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
    cookies = _cookies(headers.get(b"cookie", ""))
    chosen = _BY_CODE.get(cookies.get(LANGUAGE_COOKIE, ""))
    zone_choice = cookies.get(CHOSEN_ZONE_COOKIE, "")
    query = scope["query_string"].decode("latin-1")
    return Reader(
        chosen or accepted(headers.get(b"accept-language", "")),
        zone_named(zone_choice or cookies.get(ZONE_COOKIE, "")),
        scope["path"] + (f"?{query}" if query else ""),
        session_cookie in cookies,
        f"{headers.get(b'x-forwarded-proto', scope['scheme'])}://{headers.get(b'host', 'localhost')}",
        bool(zone_choice),
    )


def accepted(header: str) -> Language:
    """The language of pages that an Accept-Language header prefers; English if it names none of
    them.

    >>> accepted("de-CH, de;q=0.9, en;q=0.8").code, accepted("fr, en;q=0.2, de;q=0.4").code, accepted("*").code
    ('de', 'de', 'en')
    >>> accepted("en; q=0.5, de-AT ; q=0.8").code
    'de'
    """
    found: list[tuple[float, Language]] = []
    for part in header.split(",")[:20]:
        name, _, weight = part.replace(" ", "").partition(";q=")
        language = _BY_CODE.get(name.split("-")[0].lower())
        if language is not None:
            found.append((_weight(weight), language))
    best = max(found, key=lambda each: each[0], default=(0.0, LANGUAGES[0]))
    return best[1] if best[0] > 0 else LANGUAGES[0]


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
    """The time zones to choose from, by region and place; none where the system has no list of
    them.

    >>> "Europe/Berlin" in zone_names(), "Etc/GMT+3" in zone_names()
    (True, False)
    """
    regions = {
        name for name in available_timezones() if name.partition("/")[0] in _REGIONS and "/" in name
    }
    return tuple(sorted(regions))


def gettext(message: str) -> str:
    """The message in the reader's language."""
    return _catalog(reader().language.code).gettext(message)


def N_(message: str) -> str:  # noqa: N802 the name by which extractors know it
    """The message itself, marked for translation; whoever shows it calls `gettext`."""
    return message


def ngettext(singular: str, plural: str, number: int) -> str:
    """The message for this number in the reader's language."""
    return _catalog(reader().language.code).ngettext(singular, plural, number)


def localized(number: str) -> str:
    """An English number as the reader writes it.

    >>> with reading(Reader(LANGUAGES[1])):
    ...     localized("1,234.5 %")
    '1.234,5 %'
    """
    return number.translate(_SWAPPED) if reader().language.decimal_comma else number


@cache
def _catalog(code: str) -> NullTranslations:
    if code == LANGUAGES[0].code:
        return NullTranslations()
    with (
        files("monitoring.pages")
        .joinpath("locale", code, "LC_MESSAGES", f"{DOMAIN}.mo")
        .open("rb") as file
    ):
        return GNUTranslations(file)


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
