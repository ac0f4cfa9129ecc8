import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.measures.reliability import reliability
from model_store.bundle.diagram import reliability_diagram, scale_of


def test_the_diagram_puts_each_bin_where_it_belongs() -> None:
    sums = BinSums.from_predictions(np.repeat([0.5, 0.9], 100), np.arange(200) % 2 == 0)
    svg = ET.fromstring(reliability_diagram(reliability(sums)))
    first, second = (
        (float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in svg.iter("circle")
    )
    # the plot is 400 wide, and begins at 40 %
    assert second[0] - first[0] == pytest.approx(0.4 / 0.6 * 400, abs=0.02)
    assert first[1] == second[1] == pytest.approx(20 + 200)  # half of both were right
    bands = [
        float(rect.attrib["height"])
        for rect in svg.iter("rect")
        if rect.attrib["class"] == "chance"
    ]
    assert bands[0] == pytest.approx(400 * 2 * 1.96 * 0.05, abs=0.1)
    title = [each.text for each in svg.iter("title")][1]
    assert title
    assert [float(number) for number in re.findall(r"[\d.]+", title)] == [100, 90, 50, 95, 40, 60]
    assert all(count in svg.attrib["aria-label"] for count in ("200", "2", "100"))


def test_diagrams_beside_each_other_have_one_scale() -> None:
    low = reliability(BinSums.from_predictions([0.15, 0.9], [True, True]))
    high = reliability(BinSums.from_predictions([0.9] * 50, [True] * 50))
    drawn = [
        ET.fromstring(reliability_diagram(bins, scale=scale_of([low, high])))
        for bins in (low, high)
    ]
    ticks = [
        [text.text for text in svg.iter("text") if float(text.attrib["y"]) == 446] for svg in drawn
    ]
    assert ticks[0] == ticks[1] == ["0", "20", "40", "60", "80", "100"]
    dots = [[float(dot.attrib["cx"]) for dot in svg.iter("circle")] for svg in drawn]
    assert dots[0][1] == dots[1][0]  # the same confidence
    heights = [
        [float(bar.attrib["height"]) for bar in svg.iter("rect") if bar.attrib["class"] == "count"]
        for svg in drawn
    ]
    assert heights == [[1.0, 1.0], [50.0]]  # one answer against fifty
