"""Looking closer at charts over time: the days that they show, and links to other days, which work
without script.
"""

from typing import NamedTuple
from urllib.parse import urlencode

from monitoring.pages.formatting import calendar_day
from monitoring.reports.page_data import PageData
from monitoring.reports.span import WHOLE


class ZoomLink(NamedTuple):
    """A way to other days: its name in scripts, its words, and the part of the address that names
    the days.
    """

    name: str
    words: str
    query: str


class Zoom(NamedTuple):
    """The days that charts over time show, as addresses have them, and the ends that they can
    have.
    """

    since: str
    until: str
    earliest: str
    latest: str
    is_whole: bool
    query: str
    links: tuple[ZoomLink, ...]


def zoom_of(found: PageData) -> Zoom | None:
    """The zoom of a page; None where there are no two days to tell apart."""
    if found.extent is None or found.extent[0] == found.extent[1]:
        return None
    earliest, latest = found.extent
    first = earliest if found.span.first is None else found.span.first
    last = latest if found.span.last is None else found.span.last
    is_whole = found.span == WHOLE
    return Zoom(
        calendar_day(first),
        calendar_day(last),
        calendar_day(earliest),
        calendar_day(latest),
        is_whole,
        "" if is_whole else _query(first, last),
        tuple(_links(first, last, earliest=earliest, latest=latest, is_whole=is_whole)),
    )


def _links(first: int, last: int, *, earliest: int, latest: int, is_whole: bool) -> list[ZoomLink]:
    """What leads to other days than these."""
    length = last - first + 1
    half, quarter = max(length // 2, 1), length // 4
    ways = {
        "closer": ("Closer", first + quarter, first + quarter + half - 1),
        "wider": ("Wider", max(first - half, earliest), min(last + half, latest)),
        "earlier": (
            "Earlier",
            max(first - half, earliest),
            max(first - half, earliest) + length - 1,
        ),
        "later": (
            "Later",
            min(last + half, latest) - length + 1,
            min(last + half, latest),
        ),
    }
    found = [
        ZoomLink(name, words, _query(since, until))
        for name, (words, since, until) in ways.items()
        if (since, until) != (first, last) and since >= earliest and until <= latest
    ]
    return found if is_whole else [*found, ZoomLink("whole", "All days", "")]


def _query(first: int, last: int) -> str:
    return "&" + urlencode({"since": calendar_day(first), "until": calendar_day(last)})
