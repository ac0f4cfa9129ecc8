"""The model card says what card.json says, in Markdown that names cannot break."""

import re
from pathlib import Path

from calibration.measures.reliability import reliability
from calibration.wording import percent, percents
from model_store.bundle.diagram import diagram_file
from model_store.bundle.model_card import DIAGRAM_FILE, model_card
from tests.builders.bundles import build_card, subgroup, with_subgroups
from tests.builders.findings import findings_card


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
