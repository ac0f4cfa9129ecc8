import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np
import pytest

from calibration import metrics
from calibration.bins import BinSums
from monitoring.errors import ModelUnknown, QueryInvalid
from monitoring.ledger.days import Days, gather, read_days
from monitoring.ledger.sums import DAY_NS
from monitoring.pages.day_chart import Mark, chance_limit, day_chart
from monitoring.reports.page_data import read_page_data, window_since
from tests.unit.monitoring.builders import NOW_NS, label, make_card, make_row
from tests.unit.monitoring.desk import Clock, Desk

TODAY = NOW_NS // DAY_NS


def day(number: int, *, labels: int = 100, confidence: float = 0.8, right: float = 0.8) -> Days:
    correct = np.arange(labels) < right * labels
    return Days(number, number, 2 * labels, BinSums.from_predictions(np.full(labels, confidence), correct))


def drawn(days: Sequence[Days], marks: Sequence[Mark] = ()) -> ET.Element:
    svg = day_chart(days, marks)
    assert svg is not None
    return ET.fromstring(svg)


def test_days_are_those_of_service_not_of_the_label(desk: Desk, clock: Clock) -> None:
    earlier = NOW_NS - 3 * DAY_NS
    desk.serve(make_row(1, served_at_ns=earlier), make_row(2, confidence=0.6), make_row(3))
    desk.label(label(1, "normal", at_ns=earlier), label(2))
    with desk.ledger.read() as connection:
        first, second = read_days(connection, desk.calibration_id)
        assert read_days(connection, desk.calibration_id, since_day=TODAY)[0].served == second.served
    assert (first.first, first.last, first.served, first.labeled.total) == (TODAY - 3, TODAY - 3, 1, 1)
    assert (second.first, second.served, second.labeled.total) == (TODAY, 2, 1)
    assert metrics.ece(first.labeled) == pytest.approx(0.9)
    assert str(second) == "2026-09-21"


def test_days_are_gathered_in_equal_steps_and_nothing_is_lost() -> None:
    days = [day(number) for number in (*range(100, 130), *range(180, 200))]
    steps = gather(days, most=10)
    assert [(each.first, each.last) for each in steps] == [(100, 109), (110, 119), (120, 129), (180, 189), (190, 199)]
    assert sum(each.labeled.total for each in steps) == 100 * len(days)
    assert sum(each.served for each in steps) == 200 * len(days)
    assert gather(days, most=1_000) == days
    assert str(steps[0]) == "1970-04-11 to 1970-04-20"
    assert gather([], most=10) == []


def test_chance_keeps_a_calibrated_model_in_the_gray_in_nineteen_days_of_twenty() -> None:
    random = np.random.default_rng(0)
    outside = 0
    for _ in range(2_000):
        confidence = random.uniform(0.4, 1.0, 200)
        sums = BinSums.from_predictions(confidence, random.random(200) < confidence)
        outside += metrics.ece(sums) > chance_limit(sums)
    assert outside / 2_000 == pytest.approx(0.05, abs=0.02)
    one = BinSums.from_predictions([0.5] * 100, [True] * 100)  # V = 25: floor .7979 * 5 / 100, spread .6028 * 5 / 100
    assert chance_limit(one) == pytest.approx(0.03989 + 1.645 * 0.03014, abs=1e-4)


def test_the_chart_puts_each_day_where_it_belongs() -> None:
    marks = [Mark(103, "alarm", 'came at "50"'), Mark(90, "promoted", "long before")]
    svg = drawn([day(100), day(102, right=0.6), day(104, labels=10, right=0.7)], marks)
    dots = [dot for dot in svg.iter("circle") if dot.get("class", "").startswith("dot")]
    x = [float(dot.attrib["cx"]) for dot in dots]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    heights = [190 - float(dot.attrib["cy"]) for dot in dots]
    assert heights[0] == pytest.approx(0, abs=0.1)
    assert heights[1] == pytest.approx(2 * heights[2], abs=0.3)  # 20 points against 10
    assert [dot.attrib["class"] for dot in dots] == ["dot", "dot", "dot hollow"]
    assert [group.attrib["class"] for group in svg.iter("g") if "class" in group.attrib] == ["mark alarm"]
    (mark,) = (float(line.attrib["x1"]) for line in svg.iter("line") if "class" not in line.attrib)
    assert mark == pytest.approx((x[1] + x[2]) / 2, abs=0.2)
    titles = [title.text or "" for title in svg.iter("title")]
    assert titles[1].startswith("1970-04-13: ECE 20.0 %, by chance 3.2 %; 100 labels of 200 answers")
    assert titles[-1] == '1970-04-14: came at "50"'


def test_a_lone_day_and_no_day() -> None:
    svg = drawn([day(100)])
    (area,) = svg.iter("polygon")
    assert len(area.attrib["points"].split()) == 4
    assert day_chart([]) is None
    assert day_chart([day(100, labels=0)]) is None


def test_a_year_fits() -> None:
    svg = drawn([day(number) for number in range(365)])
    dots = [dot for dot in svg.iter("circle") if dot.get("class", "").startswith("dot")]
    assert len(dots) == math.ceil(365 / 6)
    assert all(0 < float(dot.attrib["cx"]) < 760 for dot in dots)


@pytest.mark.parametrize("text", ["30", "d", "0d", "99999d", "2026-13-01", "tomorrow", "2030-01-01", "", "1" * 500])
def test_a_beginning_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(QueryInvalid, match="number of days such as 30d, or a date in the past"):
        window_since(text, now_ns=NOW_NS)


def test_a_beginning_is_a_number_of_days_or_a_date() -> None:
    assert window_since("1d", now_ns=NOW_NS) == window_since("2026-09-21", now_ns=NOW_NS) == "days:1"
    assert window_since("2026-09-01", now_ns=NOW_NS) == "days:21"


def test_page_data_holds_what_belongs_together(desk: Desk, clock: Clock) -> None:
    desk.recorder.promote(desk.calibration_id).result()
    desk.serve(make_row(1))
    desk.label(label(1))
    for version in range(2, 9):
        clock.now_ns += DAY_NS
        desk.recorder.register(make_card(version=version))
    found = read_page_data(desk.ledger, "pneumonia", version=1)
    assert [each.version for each in found.versions] == [8, 7, 6, 5, 4, 1]
    assert [entry["kind"] for entry in found.of_this_version] == ["started", "promoted"]
    assert len(found.entries) == 9
    assert [each.labeled.total for each in found.days] == [1]
    assert found.since_day is None
    recent = read_page_data(desk.ledger, "pneumonia", version=1, window="days:3")
    assert recent.since_day == clock.now_ns // DAY_NS - 2
    assert (recent.days, len(recent.entries), recent.report.measures.n) == ((), 3, 0)
    with pytest.raises(ModelUnknown):
        read_page_data(desk.ledger, "pneumonia", version=99)
