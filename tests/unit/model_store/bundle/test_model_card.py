"""The model card says what card.json says, in Markdown that names cannot break; its diagram shows
the bins.
"""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from calibration.measures.reliability import reliability
from model_store.bundle.card import Card
from model_store.bundle.diagram import diagram_file
from model_store.bundle.model_card import DIAGRAM_FILE, model_card
from tests.builders.bundles import write_variants

MakeCard = Callable[..., Card]


def test_it_says_what_the_card_says(make_card: MakeCard) -> None:
    card = make_card()
    text = model_card(card)
    assert text.startswith("# tiny, version 1\n")
    assert f"]({DIAGRAM_FILE})" in text
    assert f"| Calibration error (ECE) | {card.calibration.measures['ece']:.4f} |" in text
    assert "confidence of at least 0.6000 are right in 90.0% of cases or more" in text
    assert "temperature 1.5. Reference: val." in text
    assert "fitted on these images too" in text


def test_it_lists_precisions_and_dropped_promises(tmp_path: Path) -> None:
    card = write_variants(tmp_path).card.model_copy(
        update={"dropped_promises": ("Version 1 promised more.",)}
    )
    text = model_card(card)
    assert "| int8 | `model.int8.onnx` |" in text
    assert "- Version 1 promised more." in text


def test_a_recalibrated_one_says_so(make_card: MakeCard) -> None:
    card = make_card()
    made = card.provenance.model_copy(update={"parent_version": 3, "recalibrated_by": "alarm"})
    text = model_card(card.model_copy(update={"provenance": made}))
    assert "- **Recalibrated** by a process, because of a drift alarm, from version 3." in text


def test_names_cannot_become_markup(make_card: MakeCard) -> None:
    hostile = ("a|b", "<script>x</script>", "[link](http://x)\n# Title")
    text = model_card(make_card(classes=hostile))
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\[link", text)
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# tiny, version 1"]
    bins = reliability(make_card().calibration.sums)
    assert "<script" not in diagram_file(bins, of='<script>"&')


def test_the_diagram_has_a_bar_for_each_bin_with_answers(make_card: MakeCard) -> None:
    calibration = make_card().calibration
    drawn = ElementTree.fromstring(diagram_file(reliability(calibration.sums), of="tiny"))
    dots = list(drawn.iter("{http://www.w3.org/2000/svg}circle"))
    filled = [bar for bar in reliability(calibration.sums) if bar.n]
    assert len(dots) == len(filled)
    for dot, bar in zip(dots, filled, strict=True):
        assert float(dot.get("cy", "nan")) == pytest.approx(20 + 400 * (1 - bar.accuracy), abs=0.1)
