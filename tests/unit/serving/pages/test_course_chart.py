import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from monitoring.drift.course import EvidenceCourse
from serving.pages.axis import TOP
from serving.pages.course_chart import CourseEvent, course_chart, course_steps

DAY_NS = 86_400 * 10**9


def course(shares: list[float], *, restart: int | None = None) -> EvidenceCourse:
    """One label an hour since 2024-10-04; `restart`: the label at which the watch starts again."""
    n = len(shares)
    labels = np.arange(1, n + 1)
    if restart is not None:
        labels[restart - 1 :] -= restart - 1
    return EvidenceCourse(
        feedback_id=10 * np.arange(1, n + 1),
        received_at_ns=20_000 * DAY_NS + np.arange(n) * DAY_NS // 24,
        labels=labels,
        log_evalue=10 * np.array(shares),
        log_threshold=np.full(n, 10.0),
    )


def drawn(found: EvidenceCourse, *events: CourseEvent) -> ET.Element:
    chart = course_chart(found, events)
    return ET.fromstring(chart.wide)


def test_each_label_is_a_point_where_there_are_few() -> None:
    assert course_chart(course([]), ()) is None
    steps = course_steps(course([0.1, 0.5, 0.2]))
    assert [(step.first, step.last, step.at, step.share) for step in steps] == [
        (1, 1, 1, pytest.approx(0.1)),
        (2, 2, 2, pytest.approx(0.5)),
        (3, 3, 3, pytest.approx(0.2)),
    ]
    assert math.isnan(steps[0].usual_lower)


def test_among_many_labels_the_one_with_most_evidence_stands_for_its_neighbors() -> None:
    shares = [0.1] * 1_000
    shares[503] = 0.9  # a peak between two points
    steps = course_steps(course(shares))
    assert len(steps) <= 81
    assert max(steps, key=lambda step: step.share)[:3] == (495, 507, 504)
    assert [step.first for step in steps[1:]] == [step.last + 1 for step in steps[:-1]]
    assert not math.isnan(steps[-1].usual_lower)
    assert steps[-1].usual_lower < steps[-1].usual_upper < 1


def test_no_line_and_no_point_reaches_over_a_restart() -> None:
    svg = drawn(course([0.9] * 150 + [0.1] * 150, restart=151))
    assert [line.get("class") for line in svg.iter("polyline")] == ["course"] * 2
    assert [area.get("class") for area in svg.iter("polygon")] == ["chance"] * 2


def test_what_is_above_the_plot_stands_at_its_edge_and_is_said() -> None:
    svg = drawn(course([0.5, 4.2, 99.0]))
    dots = [float(dot.attrib["cy"]) for dot in svg.iter("circle")]
    assert dots[1] == dots[2] == TOP
    titles = [title.text or "" for title in svg.iter("title")]
    assert titles[1].startswith("label 2, 2024-10-04: up to 420 %")
    assert "over 999 %" in titles[2]
    (threshold,) = (
        float(line.attrib["y1"]) for line in svg.iter("line") if line.get("class") == "threshold"
    )
    assert TOP < threshold < dots[0]


def test_events_stand_at_their_label() -> None:
    found = course([0.1, 0.5, 1.1, 0.1], restart=4)
    svg = drawn(
        found,
        CourseEvent(30, 0, "alarm", "came"),
        CourseEvent(35, 0, "acknowledged", "went"),
        CourseEvent(0, 20_000 * DAY_NS + DAY_NS // 24, "promoted", "by its time"),
        CourseEvent(0, 1, "promoted", "before all labels"),
    )
    marks = {
        group.attrib["class"]: group for group in svg.iter("g") if "mark" in group.get("class", "")
    }
    assert list(marks) == ["mark promoted", "mark alarm", "mark acknowledged"]
    x = [float(dot.attrib["cx"]) for dot in svg.iter("circle")]
    at = {name: float(next(group.iter("line")).attrib["x1"]) for name, group in marks.items()}
    assert (at["mark promoted"], at["mark alarm"], at["mark acknowledged"]) == (x[1], x[2], x[2])
    assert "Alarm: 3 (2024-10-04)." in svg.attrib["aria-label"]
