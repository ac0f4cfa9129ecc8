import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.measures import metrics
from monitoring.ledger.days import Days
from serving.pages.axis import NARROW, Chart, Mark
from serving.pages.day_chart import chance_limit, day_chart, day_dots, gap_chart


def day(number: int, *, labels: int = 100, confidence: float = 0.8, right: float = 0.8) -> Days:
    correct = np.arange(labels) < right * labels
    return Days(
        number, number, 2 * labels, BinSums.from_predictions(np.full(labels, confidence), correct)
    )


def drawn(days: Sequence[Days], marks: Sequence[Mark] = ()) -> ET.Element:
    chart = day_chart(day_dots(days), marks)
    assert chart is not None
    return ET.fromstring(chart.wide)


def test_chance_keeps_a_calibrated_model_in_the_gray_in_nineteen_days_of_twenty() -> None:
    random = np.random.default_rng(0)
    outside = 0
    for _ in range(2_000):
        confidence = random.uniform(0.4, 1.0, 200)
        sums = BinSums.from_predictions(confidence, random.random(200) < confidence)
        outside += metrics.ece(sums) > chance_limit(sums)
    assert outside / 2_000 == pytest.approx(0.05, abs=0.02)
    one = BinSums.from_predictions(
        [0.5] * 100, [True] * 100
    )  # V = 25: floor .7979 * 5 / 100, spread .6028 * 5 / 100
    assert chance_limit(one) == pytest.approx(0.03989 + 1.645 * 0.03014, abs=1e-4)


def test_the_chart_puts_each_day_where_it_belongs() -> None:
    marks = [Mark(103, "alarm", 'came at "50"'), Mark(90, "promoted", "long before")]
    svg = drawn([day(100), day(102, right=0.6), day(104, labels=10, right=0.7)], marks)
    dots = [dot for dot in svg.iter("circle") if dot.get("class", "").startswith("dot")]
    x = [float(dot.attrib["cx"]) for dot in dots]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    heights = [206 - float(dot.attrib["cy"]) for dot in dots]
    assert heights[0] == pytest.approx(0, abs=0.1)
    assert heights[1] == pytest.approx(2 * heights[2], abs=0.3)  # 20 points against 10
    assert [dot.attrib["class"] for dot in dots] == ["dot", "dot", "dot hollow"]
    assert [group.attrib["class"] for group in svg.iter("g") if "class" in group.attrib] == [
        "mark alarm"
    ]
    (mark,) = (float(line.attrib["x1"]) for line in svg.iter("line") if "class" not in line.attrib)
    assert mark == pytest.approx((x[1] + x[2]) / 2, abs=0.2)
    titles = [title.text or "" for title in svg.iter("title")]
    assert titles[2].startswith(
        "1970-04-13: ECE 20.0 %, 3.2 % expected by chance; 100 labels on 200 answers"
    )
    assert titles[0] == '1970-04-14: came at "50"'


def test_a_lone_day_and_no_day() -> None:
    svg = drawn([day(100)])
    (area,) = svg.iter("polygon")
    assert len(area.attrib["points"].split()) == 4
    assert day_chart(day_dots([])) is None
    assert day_chart(day_dots([day(100, labels=0)])) is None


def labels_of_height(svg: ET.Element) -> list[float]:
    """The numbers beside the plot, from the bottom up."""
    return [float(text.text or "") for text in svg.iter("text") if text.attrib["x"] == "48"]


@pytest.mark.parametrize("right", [0.01 * share for share in range(0, 101, 3)])
@pytest.mark.parametrize("labels", [1, 7, 400])
def test_ticks_are_whole_and_go_up_in_steps_that_people_count_in(right: float, labels: int) -> None:
    days = day_dots([day(100, right=right, labels=labels), day(101)])
    for chart, least in ((day_chart(days), 0.0), (gap_chart(days), -100.0)):
        assert chart is not None
        ticks = labels_of_height(ET.fromstring(chart.wide))
        (step,) = {later - earlier for earlier, later in itertools.pairwise(ticks)}
        assert step in (1, 2, 5, 10, 20, 50)
        assert 4 <= len(ticks) + (least < 0) <= 8
        assert 0.0 in ticks
        assert least <= ticks[0]
        assert ticks[-1] <= 100


def test_a_lone_day_stands_in_the_middle_of_the_plot() -> None:
    days = day_dots([day(100, right=0.5)])
    for chart in (day_chart(days, [Mark(100, "alarm", "came")]), gap_chart(days)):
        assert chart is not None
        for drawing, width in ((chart.wide, 760), (chart.narrow, NARROW)):
            svg = ET.fromstring(drawing)
            middle = (56 + width - 14) / 2
            (dot,) = svg.iter("circle")
            (date,) = (text for text in svg.iter("text") if text.text == "1970-04-11")
            assert float(dot.attrib["cx"]) == float(date.attrib["x"]) == middle
            assert date.attrib["text-anchor"] == "middle"


def test_kinds_of_events_differ_in_shape_and_stand_above_the_dots() -> None:
    marks = [Mark(100, kind, kind) for kind in ("alarm", "promoted", "acknowledged")]
    svg = drawn([day(100, right=0.2), day(101)], marks)
    shapes = list(svg.iter("path"))
    assert (
        len({path.attrib["d"] for path in shapes})
        == len({path.attrib["transform"] for path in shapes})
        == 3
    )
    highest = min(float(dot.attrib["cy"]) for dot in svg.iter("circle"))
    assert all(
        float(path.attrib["transform"].split()[1].rstrip(")")) + 7 < highest for path in shapes
    )


def test_the_narrow_chart_has_the_same_days_and_says_the_same() -> None:
    chart = day_chart(day_dots([day(100), day(101, right=0.4)]), [Mark(101, "alarm", "came")])
    assert chart is not None
    wide, narrow = ET.fromstring(chart.wide), ET.fromstring(chart.narrow)
    assert wide.attrib["aria-label"] == narrow.attrib["aria-label"]
    assert "The highest is 40.0 %, 1970-04-12. Alarm: 1970-04-12." in wide.attrib["aria-label"]
    assert all(float(dot.attrib["cx"]) < 340 for dot in narrow.iter("circle"))


def test_a_year_fits() -> None:
    svg = drawn([day(number) for number in range(365)])
    dots = [dot for dot in svg.iter("circle") if dot.get("class", "").startswith("dot")]
    assert len(dots) == math.ceil(365 / 6)
    assert all(0 < float(dot.attrib["cx"]) < 760 for dot in dots)


def shape_places(svg: ET.Element) -> list[float]:
    return [
        float(path.attrib["transform"].removeprefix("translate(").split()[0])
        for path in svg.iter("path")
    ]


@pytest.mark.parametrize("days", [range(100, 102), range(100, 130), [100], [129]])
@pytest.mark.parametrize("count", [1, 4, 12])
def test_no_mark_hides_another_or_leaves_the_chart(days: Sequence[int], count: int) -> None:
    """Also where they fall on neighboring days, or on the last one, on a phone."""
    marks = [Mark(days[number % len(days)], "alarm", str(number)) for number in range(count)]
    chart = day_chart(day_dots([day(number) for number in range(100, 130)]), marks)
    assert chart is not None
    for drawing, width in ((chart.wide, 760), (chart.narrow, NARROW)):
        places = shape_places(ET.fromstring(drawing))
        assert len(places) == count
        assert all(later - earlier >= 14.9 for earlier, later in itertools.pairwise(places))
        assert min(places) >= 52
        assert max(places) <= width - 7


def test_many_marks_still_fit() -> None:
    chart = day_chart(
        day_dots([day(100), day(101)]), [Mark(101, "reset", str(number)) for number in range(60)]
    )
    assert chart is not None
    places = shape_places(ET.fromstring(chart.narrow))
    assert len(set(places)) == 60
    assert places == sorted(places)
    assert max(places) < NARROW


def test_the_gap_by_day_has_its_sign_and_interval() -> None:
    dots = day_dots(
        [day(100, confidence=0.9, right=0.5), day(101, confidence=0.5, right=0.9), day(102)]
    )
    chart = gap_chart(dots)
    assert chart is not None
    svg = ET.fromstring(chart.wide)
    (zero,) = (
        float(line.attrib["y1"]) for line in svg.iter("line") if line.get("class") == "truth"
    )
    y = [float(dot.attrib["cy"]) for dot in svg.iter("circle")]
    assert y[0] < zero < y[1]
    assert y[2] == pytest.approx(zero, abs=0.1)
    assert zero - y[0] == pytest.approx(y[1] - zero, abs=0.2)
    for line, dot in zip(
        (line for line in svg.iter("line") if line.get("class") == "range"), y, strict=True
    ):
        assert float(line.attrib["y2"]) <= dot <= float(line.attrib["y1"])
    assert (
        "the 95 % interval is above zero on 1 of 3 points, and below it on 1."
        in svg.attrib["aria-label"]
    )
    assert dots[0].gap == pytest.approx(0.4)
    assert dots[0].coverage == pytest.approx(0.5)


@pytest.mark.parametrize("make", [day_chart, gap_chart])
def test_a_chart_as_a_file_needs_nothing_else(make: Callable[..., Chart]) -> None:
    days = day_dots([day(100), day(101, right=0.4)])
    text = make(days, [Mark(101, "alarm", "came <here>")]).file
    svg = ET.fromstring(text)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert (svg.attrib["width"], svg.attrib["height"]) == ("760", "232")
    assert "var(" not in text
    assert "came &lt;here&gt;" in text
