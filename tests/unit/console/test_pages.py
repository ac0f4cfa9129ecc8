"""Charts and templates of the console, without a server."""

import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError

from calibration.bins import BinSums
from calibration.measures import metrics
from calibration.measures.many_models import beyond_chance
from console.axis import NARROW, WIDE, Chart, Mark
from console.day_chart import day_chart, day_dots, gap_chart
from console.formatting import code_marks
from console.index import ModelChoice, read_choice
from console.rendering import asset, render
from console.sections import Zoom, zoom_of
from model_store.bundle.diagram import diagram_file, drawing_rules
from monitoring.errors import QueryInvalid
from monitoring.http.endpoint import EVERYONE
from monitoring.ledger.days import Days
from monitoring.reports.page_data import WHOLE, Span, read_span


def day(number: int, *, labels: int = 100, confidence: float = 0.8, right: float = 0.8) -> Days:
    sums = BinSums.from_predictions(np.full(labels, confidence), np.arange(labels) < right * labels)
    return Days(number, number, 2 * labels, sums)


def chart_of(
    days: Sequence[Days], marks: Sequence[Mark] = (), make: Callable[..., Chart | None] = day_chart
) -> Chart:
    chart = make(day_dots(days), marks)
    assert chart is not None
    return chart


def drawn(days: Sequence[Days], marks: Sequence[Mark] = ()) -> ET.Element:
    return ET.fromstring(chart_of(days, marks).wide)


def both(chart: Chart) -> list[tuple[ET.Element, int]]:
    return [(ET.fromstring(chart.wide), WIDE), (ET.fromstring(chart.narrow), NARROW)]


def dots(svg: ET.Element, place: str = "cy") -> list[float]:
    return [float(dot.attrib[place]) for dot in svg.iter("circle")]


def shape_places(svg: ET.Element) -> list[float]:
    return [
        float(path.attrib["transform"].removeprefix("translate(").split()[0])
        for path in svg.iter("path")
    ]


def test_chance_ends_where_a_calibrated_model_is_on_nineteen_days_of_twenty() -> None:
    # V = 25: floor .7979 * 5 / 100, spread .6028 * 5 / 100
    one = BinSums.from_predictions([0.5] * 100, [True] * 100)
    assert metrics.chance_limit(one) == pytest.approx(0.03989 + 1.645 * 0.03014, abs=1e-4)


def test_the_chart_puts_each_day_and_event_where_it_belongs() -> None:
    marks = [Mark(103, "alarm", 'came at "50"'), Mark(90, "promoted", "long before")]
    svg = drawn([day(100), day(102, right=0.6), day(104, labels=10, right=0.7)], marks)
    x, heights = dots(svg, "cx"), [206 - y for y in dots(svg)]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    assert heights[0] == pytest.approx(0, abs=0.1)
    assert heights[1] == pytest.approx(2 * heights[2], abs=0.3)  # 20 points against 10
    assert [dot.attrib["class"] for dot in svg.iter("circle")] == ["dot", "dot", "dot hollow"]
    events = [group.attrib["class"] for group in svg.iter("g") if "class" in group.attrib]
    assert events == ["mark alarm"]
    (mark,) = (float(line.attrib["x1"]) for line in svg.iter("line") if "class" not in line.attrib)
    assert mark == pytest.approx((x[1] + x[2]) / 2, abs=0.2)
    titles = [title.text or "" for title in svg.iter("title")]
    assert titles[0] == '14 Apr 1970: came at "50"'
    assert titles[2].startswith("1970-04-13: ECE 20.0 %, 3.2 % expected by chance")


def test_no_day_has_no_chart_and_a_lone_one_stands_in_the_middle() -> None:
    assert day_chart(day_dots([])) is None
    assert day_chart(day_dots([day(100, labels=0)])) is None
    lone, marks = [day(100, right=0.5)], [Mark(100, "alarm", "came")]
    for chart in (chart_of(lone, marks), chart_of(lone, make=gap_chart)):
        for svg, width in both(chart):
            (date,) = (text for text in svg.iter("text") if text.text == "11 Apr 1970")
            assert dots(svg, "cx") == [float(date.attrib["x"])] == [(56 + width - 14) / 2]
            assert date.attrib["text-anchor"] == "middle"


def test_the_narrow_chart_says_the_same() -> None:
    marks = [Mark(101, "alarm", "came <here>")]
    for make in (day_chart, gap_chart):
        chart = chart_of([day(100), day(101, right=0.4)], marks, make)
        wide, narrow = map(ET.fromstring, (chart.wide, chart.narrow))
        said = {each.attrib["aria-label"] for each in (wide, narrow)}
        assert len(said) == 1
        assert "Alarm: 12 Apr 1970." in said.pop()
        assert max(dots(narrow, "cx")) < NARROW
        assert "came &lt;here&gt;" in chart.wide


def test_no_mark_hides_another_or_leaves_the_chart() -> None:
    """Also where they fall on neighboring days, or on the last one, on a phone."""
    for days in [range(100, 102), range(100, 130), [100], [129]]:
        for count in [1, 4, 12]:
            marks = [
                Mark(days[number % len(days)], "alarm", str(number)) for number in range(count)
            ]
            for svg, width in both(chart_of([day(number) for number in range(100, 130)], marks)):
                places = shape_places(svg)
                assert len(places) == count
                assert all(later - earlier >= 14.9 for earlier, later in itertools.pairwise(places))
                assert 52 <= min(places) <= max(places) <= width - 7


def test_the_gap_by_day_has_its_sign_and_interval() -> None:
    days = [day(100, confidence=0.9, right=0.5), day(101, confidence=0.5, right=0.9), day(102)]
    svg = ET.fromstring(chart_of(days, make=gap_chart).wide)
    lines: dict[str, list[ET.Element]] = {"truth": [], "range": [], "axis": []}
    for line in svg.iter("line"):
        lines[line.attrib["class"]].append(line)
    zero, y = float(lines["truth"][0].attrib["y1"]), dots(svg)
    assert y[0] < zero < y[1]
    assert y[2] == pytest.approx(zero, abs=0.1)
    assert zero - y[0] == pytest.approx(y[1] - zero, abs=0.2)
    for line, dot in zip(lines["range"], y, strict=True):
        assert float(line.attrib["y2"]) <= dot <= float(line.attrib["y1"])
    first = day_dots(days)[0]
    assert (first.gap, first.coverage) == (pytest.approx(0.4), pytest.approx(0.5))


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


GRAPHICS = 3.0  # the least ratio
_COLORS = dict(re.findall(r"--(\w+): (light-dark\([^)]*\));", asset("style.css").content))


def color(name: str, dark: bool) -> tuple[float, float, float]:
    found = re.findall(r"#(\w{6})", _COLORS[name])[dark]
    red, green, blue = (int(found[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def mixed(over: tuple[float, ...], under: tuple[float, ...], opacity: float) -> tuple[float, ...]:
    return tuple(
        opacity * one + (1 - opacity) * other for one, other in zip(over, under, strict=True)
    )


def luminance(rgb: tuple[float, ...]) -> float:
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_range_of_chance_has_an_edge_and_dots_stand_out_in_it(dark: bool) -> None:
    rule = re.search(
        r"svg \.chance .*?fill-opacity: ([\d.]+);.*?stroke-opacity: ([\d.]+);",
        asset("style.css").content,
    )
    fill, edge = float(rule[1]), float(rule[2])
    card, muted = color("card", dark), color("muted", dark)
    inside = mixed(muted, card, fill)
    assert contrast(mixed(muted, card, edge), card) >= GRAPHICS
    for name in ("accent", "bad"):
        assert contrast(color(name, dark), inside) >= GRAPHICS


def test_values_are_escaped() -> None:
    page = render("server.html", models=[("<script>", 1)], viewer=EVERYONE)
    assert "<li>&lt;script&gt;, version 1" in page
    assert 'href="/try/%3Cscript%3E"' in page


def test_code_marks_escape_too() -> None:
    assert code_marks("`<b>` and <i>") == "<code>&lt;b&gt;</code> and &lt;i&gt;"
    assert code_marks("one ` alone") == "one ` alone"


def test_a_missing_name_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'models' is undefined"):
        render("server.html")


def test_a_drawing_of_its_own_has_the_colors_of_the_light_page() -> None:
    page, drawing = asset("style.css").content, diagram_file([])
    light = dict(re.findall(r"--(\w+): light-dark\((#\w+),", page))
    for name in set(re.findall(r"var\(--(\w+)\)", drawing_rules())):
        assert light[name] in drawing
    assert "svg .dot { fill: #2563b0;" in drawing
    assert "var(" not in drawing


def test_what_one_model_shows_is_chance_among_fifty() -> None:
    strong, weak = math.log(1_500), math.log(30)
    assert beyond_chance([weak]) == [True]
    assert beyond_chance([weak] + [-math.inf] * 49) == [False] * 50
    assert beyond_chance([strong, weak] + [-math.inf] * 48) == [True] + [False] * 49
    assert beyond_chance([math.log(100)] * 10 + [-math.inf] * 40) == [True] * 10 + [False] * 40
    assert beyond_chance([]) == []


def test_a_choice_is_read_from_an_address_and_written_to_one() -> None:
    choice = read_choice({"q": "a b", "state": "look", "sort": "gap"})
    assert choice == ModelChoice("a b", "look", "gap")
    assert choice.address(state="") == "/?q=a+b&sort=gap"
    assert ModelChoice().address() == "/"
    for wrong in ({"state": "red"}, {"sort": "size"}, {"sort": ""}):
        with pytest.raises(QueryInvalid):
            read_choice(wrong)
