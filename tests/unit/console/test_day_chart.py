import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.measures import metrics
from console.axis import NARROW, WIDE, Chart, Mark
from console.day_chart import day_chart, day_dots, gap_chart
from monitoring.ledger.days import Days


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
    assert titles[0] == '1970-04-14: came at "50"'
    assert titles[2].startswith("1970-04-13: ECE 20.0 %, 3.2 % expected by chance")


def test_no_day_has_no_chart_and_a_lone_one_stands_in_the_middle() -> None:
    assert day_chart(day_dots([])) is None
    assert day_chart(day_dots([day(100, labels=0)])) is None
    lone, marks = [day(100, right=0.5)], [Mark(100, "alarm", "came")]
    for chart in (chart_of(lone, marks), chart_of(lone, make=gap_chart)):
        for svg, width in both(chart):
            (date,) = (text for text in svg.iter("text") if text.text == "1970-04-11")
            assert dots(svg, "cx") == [float(date.attrib["x"])] == [(56 + width - 14) / 2]
            assert date.attrib["text-anchor"] == "middle"


def test_the_narrow_chart_says_the_same() -> None:
    marks = [Mark(101, "alarm", "came <here>")]
    for make in (day_chart, gap_chart):
        chart = chart_of([day(100), day(101, right=0.4)], marks, make)
        wide, narrow = map(ET.fromstring, (chart.wide, chart.narrow))
        said = {each.attrib["aria-label"] for each in (wide, narrow)}
        assert len(said) == 1
        assert "Alarm: 1970-04-12." in said.pop()
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
