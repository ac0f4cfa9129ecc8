"""The card: what it must say, how it is compared, and its Markdown and diagram."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from calibration.bins import BinSums
from calibration.conformal import conformal
from calibration.measures.reliability import reliability
from calibration.measures.summary import Measures
from calibration.wording import percent, percents
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard
from model_store.bundle.card import Card, InputReference
from model_store.bundle.comparison import compare_cards
from model_store.bundle.diagram import diagram_file, reliability_diagram, scale_of
from model_store.bundle.model_card import DIAGRAM_FILE, model_card
from monitoring.diagnosis.live_comparison import card_comparison_words
from tests.builders.bundles import build_card, subgroup, with_subgroups
from tests.builders.findings import findings_card


def changed(card: Card, path: str, value: Any) -> dict[str, Any]:
    """The card's plain data with one value, at a dotted path, replaced or added."""
    data: dict[str, Any] = json.loads(card.model_dump_json())
    *parents, last = path.split(".")
    place: Any = data
    for key in parents:
        place = place[int(key) if key.isdecimal() else key]
    place[last] = value
    return data


def test_a_card_survives_json() -> None:
    sets = conformal([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]] * 10, [0, 1, 1] * 10, alpha=0.2)
    reference = InputReference.from_brightness(np.array([[10.0, 4.0], [30.0, 4.0]]))
    assert reference == InputReference(mean=20, mean_sd=10, contrast=4, contrast_sd=0, n=2)
    more = {"conformal": ConformalCard.from_sets(sets), "input_reference": reference}
    for card in (build_card(), build_card().model_copy(update=more)):
        assert Card.model_validate_json(card.model_dump_json()) == card


def test_what_a_card_may_not_say() -> None:
    for path, value in [
        ("format_version", 3),
        ("name", ""),
        ("name", "../etc"),
        ("version", 0),
        ("version", 1.5),
        ("classes", ["only"]),
        ("classes", ["a", ""]),
        ("classes", ["a", "b", "a"]),
        ("input.channels", 2),
        ("input.height", 0),
        ("input.width", 5000),
        ("input.resize", "squash"),
        ("calibration.method", ""),
        ("calibration.temperature", 0),
        ("calibration.temperature", float("nan")),
        ("calibration.bins", []),
        ("calibration.bins.0.n", -1),
        ("calibration.bins.0.confidence", float("nan")),
        ("calibration.measures.ece", float("nan")),
        ("referral.threshold", 1.5),
        ("referral.coverage", float("nan")),
        ("provenance.created_at", "yesterday"),
    ]:
        with pytest.raises(ValidationError) as caught:
            Card.model_validate(changed(build_card(), path, value))
        assert path.split(".")[0] in str(caught.value)


def test_what_a_later_candor_adds_is_ignored() -> None:
    for place in [
        "surprise",
        "provenance.surprise",
        "calibration.surprise",
        "input.mean",
        "bins.0.x",
    ]:
        path = f"calibration.{place}" if place.startswith("bins") else place
        assert (
            Card.model_validate(changed(build_card(), path, {"any": ["thing", 1]})) == build_card()
        )


def test_what_a_card_must_say() -> None:
    for key in ["name", "version", "classes", "input", "provenance", "calibration"]:
        data = json.loads(build_card().model_dump_json())
        del data[key]
        with pytest.raises(ValidationError, match=key):
            Card.model_validate(data)


def measured(version: int, right: int, *, n: int = 100, of: str = "0" * 64) -> Card:
    """A card of answers of confidence .8, measured on the data with that fingerprint."""
    sums = BinSums.from_predictions([0.8] * n, [True] * right + [False] * (n - right))
    calibration = CalibrationCard.from_reference(
        temperature=1.0, split="val", sums=sums, measures=Measures.from_sums(sums)
    )
    card = build_card(version=version)
    made = card.provenance.model_copy(update={"fingerprint": of})
    return card.model_copy(update={"calibration": calibration, "provenance": made})


def test_the_difference_on_the_same_images_has_an_interval() -> None:
    found = compare_cards(measured(1, 80), measured(2, 50))
    assert (found.first, found.second, found.n) == (1, 2, 100)
    assert found.accuracy.estimate == pytest.approx(-0.3)
    assert found.accuracy.lower < -0.3 < found.accuracy.upper < 0
    assert [found.gap.estimate, found.ece.estimate] == pytest.approx([0.3, 0.3])
    assert found.ece.lower > 0
    assert found.accuracy.in_points in card_comparison_words(found)


@pytest.mark.parametrize("other", [measured(2, 90, n=101), measured(2, 90, of="1" * 64)])
def test_figures_of_other_images_are_not_compared(other: Card) -> None:
    assert compare_cards(measured(1, 80), other) is None
    assert "different images" in card_comparison_words(None)


def test_it_says_what_the_card_says() -> None:
    card = build_card()
    text = model_card(card)
    assert text.startswith("# tiny, version 1\n")
    assert f"]({DIAGRAM_FILE})" in text
    measures = card.calibration.measures
    for shown in (
        percent(measures["accuracy"]),
        f"{percent(measures['ece'])} ({percents(measures['ece_lower'], measures['ece_upper'])})",
        f"{measures['nll']:.3f}",
    ):
        assert f" {shown} |" in text
    assert f"{card.calibration.temperature:.3g}" in text


def test_it_names_the_subgroups_with_a_calibrator_of_their_own(tmp_path: Path) -> None:
    text = model_card(with_subgroups(tmp_path, subgroup(("B", "<E>"), temperature=2.5)).card)
    (line,) = [line for line in text.splitlines() if line.startswith("| site=B")]
    assert "| 2.5 | no | 60 + 40 |" in line
    assert line.endswith("| 100 %: every answer |")
    assert "<E>" not in text


def test_names_cannot_become_markup() -> None:
    hostile = ("a|b", "<script>x</script>", "[link](http://x)\n# Title")
    text = model_card(build_card(classes=hostile))
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\[link", text)
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# tiny, version 1"]
    bins = reliability(build_card().calibration.sums)
    assert "<script" not in diagram_file(bins, of='<script>"&')


def test_it_says_what_the_card_says_of_each_finding() -> None:
    card = findings_card(
        thresholds=(0.2, 0.5, 0.7), temperatures=(2.0, 1.0, 1.0), biases=(0.5, 0.0, 0.0), sets=True
    )
    unfitted = card.findings[2].calibration.model_copy(update={"method": "none"})
    findings = (*card.findings[:2], card.findings[2].model_copy(update={"calibration": unfitted}))
    text = model_card(card.model_copy(update={"findings": findings}))
    rows = {
        (cells[1], len(cells)): cells
        for line in text.splitlines()
        if len(cells := [cell.strip() for cell in line.split("|")]) > 8
    }
    assert rows["Edema", 10][4] == "temperature 2, bias +0.5"
    assert rows["Mass", 10][4] == "none"
    assert rows["Edema", 9][2] == "20.00 %"
    sets = card.findings[0].conformal
    assert rows["Edema", 9][7] == percent(sets.mean_set_size - 1)
    assert "**Not calibrated for Mass.**" in text
    assert "card.json" in text
    assert "at most 10 %" in text


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
