"""The days that charts over time show."""

from types import SimpleNamespace
from typing import Any

import pytest

from console.sections import Zoom, zoom_of
from monitoring.errors import QueryInvalid
from monitoring.reports.page_data import WHOLE, Span, read_span

DAY = 20_000  # 2024-10-04


def zoom(span: Span, extent: tuple[int, int] | None = (DAY, DAY + 39)) -> Zoom | None:
    page: Any = SimpleNamespace(span=span, extent=extent)
    return zoom_of(page)


def test_a_span_without_ends_reaches_as_far_as_there_are_days() -> None:
    ends = ("2024-10-04", "2024-11-12")
    assert zoom(WHOLE) == (*ends, *ends, True)
    assert zoom(Span(None, DAY + 3)) == ("2024-10-04", "2024-10-07", *ends, False)


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
