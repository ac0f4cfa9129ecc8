"""The days that charts over time show, and the links that lead to others."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from monitoring.errors import QueryInvalid
from monitoring.reports.span import WHOLE, Span, read_span
from serving.pages.sections import Zoom, zoom_of

DAY = 20_000  # 2024-10-04


def zoom(span: Span, extent: tuple[int, int] | None = (DAY, DAY + 39)) -> Zoom:
    found: Any = SimpleNamespace(span=span, extent=extent)
    zoomed = zoom_of(found)
    assert zoomed is not None
    return zoomed


def leads_to(found: Zoom) -> dict[str, Span]:
    asked = {
        link.name: {name: values[0] for name, values in parse_qs(link.query).items()}
        for link in found.links
    }
    return {
        name: read_span(query.get("since"), query.get("until")) for name, query in asked.items()
    }


def test_of_all_days_one_can_only_look_closer() -> None:
    found = zoom(WHOLE)
    assert (found.since, found.until, found.is_whole, found.query) == (
        "2024-10-04",
        "2024-11-12",
        True,
        "",
    )
    assert leads_to(found) == {"closer": Span(DAY + 10, DAY + 29)}


def test_from_some_days_one_can_go_everywhere() -> None:
    assert leads_to(zoom(Span(DAY + 10, DAY + 19))) == {
        "closer": Span(DAY + 12, DAY + 16),
        "wider": Span(DAY + 5, DAY + 24),
        "earlier": Span(DAY + 5, DAY + 14),
        "later": Span(DAY + 15, DAY + 24),
        "whole": WHOLE,
    }


def test_at_an_end_no_link_leaves_the_days_that_there_are() -> None:
    assert leads_to(zoom(Span(None, DAY + 3))) == {
        "closer": Span(DAY + 1, DAY + 2),
        "wider": Span(DAY, DAY + 5),
        "later": Span(DAY + 2, DAY + 5),
        "whole": WHOLE,
    }
    assert leads_to(zoom(Span(DAY + 39, DAY + 39))) == {
        "wider": Span(DAY + 38, DAY + 39),
        "earlier": Span(DAY + 38, DAY + 38),
        "whole": WHOLE,
    }


def test_one_day_or_none_is_nothing_to_choose_from() -> None:
    for extent in (None, (DAY, DAY)):
        found: Any = SimpleNamespace(span=WHOLE, extent=extent)
        assert zoom_of(found) is None


@pytest.mark.parametrize(
    ("since", "until"),
    [("yesterday", None), ("2024-13-01", None), (None, "2024"), ("2024-10-05", "2024-10-04")],
)
def test_what_is_no_span_is_refused(since: str | None, until: str | None) -> None:
    with pytest.raises(QueryInvalid, match=r"2024|yesterday"):
        read_span(since, until)
