import xml.etree.ElementTree as ET

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.reliability import reliability
from monitoring.pages.diagram import reliability_diagram


def test_the_diagram_puts_each_bin_where_it_belongs() -> None:
    sums = BinSums.from_predictions(np.repeat([0.5, 0.9], 100), np.arange(200) % 2 == 0)
    svg = ET.fromstring(reliability_diagram(reliability(sums)))
    first, second = ((float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in svg.iter("circle"))
    assert second[0] - first[0] == pytest.approx(0.4 * 400)  # the plot is 400 wide
    assert first[1] == second[1] == pytest.approx(10 + 200)  # half of both were right
    bands = [float(rect.attrib["height"]) for rect in svg.iter("rect") if rect.attrib["class"] == "chance"]
    assert bands[0] == pytest.approx(400 * 2 * 1.96 * 0.05, abs=0.1)
    titles = [title.text for title in svg.iter("title")]
    assert titles[1] is not None
    assert titles[1].startswith(
        "100 answers: on average 90.0 % confident and right 50.0 % of the time (95 % interval 40 to 60)"
    )


def test_large_counts_are_short_and_no_answers_are_no_dots() -> None:
    many = BinSums.from_predictions([0.9], [True])
    many = BinSums(
        many.n * 25_000,
        *(getattr(many, name) * 25_000 for name in ("confidence", "correct", "variance", "squared_error")),
    )
    assert ">25k<" in reliability_diagram(reliability(many))
    assert "circle" not in reliability_diagram(reliability(BinSums.zeros()))
