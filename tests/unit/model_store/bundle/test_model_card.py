"""The model card says what card.json says, in Markdown that names cannot break."""

import re
from collections.abc import Callable
from pathlib import Path

from calibration.measures.reliability import reliability
from model_store.bundle.card import Card
from model_store.bundle.diagram import diagram_file
from model_store.bundle.model_card import DIAGRAM_FILE, model_card
from tests.builders.bundles import subgroup, with_subgroups, write_variants

MakeCard = Callable[..., Card]


def test_it_says_what_the_card_says(tmp_path: Path) -> None:
    card = write_variants(tmp_path).card
    text = model_card(card)
    assert text.startswith("# tiny, version 1\n")
    assert f"]({DIAGRAM_FILE})" in text
    for figure in ("accuracy", "ece", "nll"):
        assert f" {card.calibration.measures[figure]:.4f} |" in text
    assert f"{card.calibration.temperature:.3g}" in text
    assert "| int8 | `model.int8.onnx` |" in text


def test_it_names_the_subgroups_with_a_calibrator_of_their_own(tmp_path: Path) -> None:
    text = model_card(with_subgroups(tmp_path, subgroup(("B", "<E>"), temperature=2.5)).card)
    (line,) = [line for line in text.splitlines() if line.startswith("| site=B")]
    assert "| 2.5 | no | 60 + 40 |" in line
    assert line.endswith("| 1: every answer |")
    assert "<E>" not in text


def test_names_cannot_become_markup(make_card: MakeCard) -> None:
    hostile = ("a|b", "<script>x</script>", "[link](http://x)\n# Title")
    text = model_card(make_card(classes=hostile))
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\[link", text)
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# tiny, version 1"]
    bins = reliability(make_card().calibration.sums)
    assert "<script" not in diagram_file(bins, of='<script>"&')
