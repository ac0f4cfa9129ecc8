"""The days that charts over time show, and the links that lead to others."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from monitoring.errors import QueryInvalid
from monitoring.reports.span import WHOLE, Span, read_span
from serving.pages.sections import Zoom, zoom_of

DAY = 20_000  # 2024-10-04


def zoom(span: Span, extent: tuple[int, int] | None = (DAY, DAY + 39)) -> Zoom | None:
    page: Any = SimpleNamespace(span=span, extent=extent)
    return zoom_of(page)


@pytest.mark.parametrize(
    ("span", "links"),
    [
        (WHOLE, {"closer": (10, 29)}),
        (
            Span(DAY + 10, DAY + 19),
            {"closer": (12, 16), "wider": (5, 24), "earlier": (5, 14), "later": (15, 24)},
        ),
        (Span(None, DAY + 3), {"closer": (1, 2), "wider": (0, 5), "later": (2, 5)}),
        (Span(DAY + 39, DAY + 39), {"wider": (38, 39), "earlier": (38, 38)}),
    ],
)
def test_links_lead_to_days_that_there_are(span: Span, links: dict[str, tuple[int, int]]) -> None:
    found = zoom(span)
    expected = {name: Span(DAY + first, DAY + last) for name, (first, last) in links.items()}
    asked = {link.name: parse_qs(link.query) for link in found.links}
    assert {
        name: read_span(*(query.get(end, [None])[0] for end in ("since", "until")))
        for name, query in asked.items()
    } == expected | ({} if span == WHOLE else {"whole": WHOLE})
    if span == WHOLE:
        assert (found.since, found.until, found.query) == ("2024-10-04", "2024-11-12", "")


@pytest.mark.parametrize("extent", [None, (DAY, DAY)])
def test_one_day_or_none_is_nothing_to_choose_from(extent: tuple[int, int] | None) -> None:
    assert zoom(WHOLE, extent) is None


@pytest.mark.parametrize(
    ("since", "until"),
    [("yesterday", None), ("2024-13-01", None), (None, "2024"), ("2024-10-05", "2024-10-04")],
)
def test_what_is_no_span_is_refused(since: str | None, until: str | None) -> None:
    with pytest.raises(QueryInvalid):
        read_span(since, until)
