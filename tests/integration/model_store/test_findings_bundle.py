"""Bundles with several findings an image: the card and the graph agree, column by column."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import Card
from model_store.bundle.finding_card import finding_card
from model_store.errors import GraphError
from tests.builders.findings import FINDINGS, findings_bundle, findings_card, findings_onnx


def test_each_column_is_a_probability_of_its_own(tmp_path: Path) -> None:
    plain = findings_bundle(tmp_path / "plain")
    other = findings_bundle(
        tmp_path / "other", temperatures=(2.0, 1.0, 0.5), biases=(0.0, 1.0, 0.0)
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    p, q = (
        ort.InferenceSession(each.onnx).run(["probabilities"], {"image": images})[0]
        for each in (plain, other)
    )
    logits = np.log(p / (1 - p))
    expected = 1 / (1 + np.exp(-(logits / [2.0, 1.0, 0.5] + [0.0, 1.0, 0.0])))
    np.testing.assert_allclose(q, expected, atol=1e-5)
    assert not np.allclose(p.sum(axis=1), 1)


def test_the_graph_has_the_calibrators_of_the_card(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="temperature"):
        write_bundle(
            tmp_path, card=findings_card(), onnx=findings_onnx(temperatures=(2.0, 1.0, 1.0))
        )


def test_a_finding_has_a_card_of_its_own() -> None:
    card = findings_card(thresholds=(0.2, 0.5, 0.7))
    one = card.of_finding("Mass")
    assert (one.classes, one.finding, one.has_findings) == (("absent", "present"), "Mass", False)
    assert one.findings[0].threshold == 0.7
    assert Card.model_validate(one.model_dump()) == one
    assert (card.has_findings, card.classes) == (True, FINDINGS)


def test_the_names_are_those_of_the_columns() -> None:
    card = findings_card()
    with pytest.raises(ValueError, match="names of the findings"):
        Card.model_validate(card.model_dump() | {"classes": ("Edema", "Mass", "Effusion")})
    with pytest.raises(ValueError, match="two classes"):
        Card.model_validate(card.model_dump() | {"classes": ("Edema",), "findings": None})


def test_a_finding_has_sets_from_ten_images_of_either_answer_on() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(1, 4, 400)
    label = (rng.random(400) < p).astype(float)
    card = finding_card("Edema", p, label, split="val", threshold=0.3)
    sets = card.conformal
    assert (sets.method, sets.alpha) == ("class_conditional", 0.1)
    assert sets.thresholds[1] <= 0.3
    few = label.copy()
    few[np.flatnonzero(label == 1)[5:]] = np.nan
    assert finding_card("Edema", p, few, split="val", threshold=0.3).conformal is None
