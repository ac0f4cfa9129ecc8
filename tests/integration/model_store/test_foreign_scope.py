"""An imported graph gets a scope check if there are images to fit it on."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from model_store.bundle.card import Card
from model_store.runtime import ort
from tests.builders.bundles import SIDE, color_weights, foreign_onnx, labeled_folder, linear
from tests.builders.foreign import imported


def checked(path: Path, *options: str) -> tuple[dict[str, Any], Card, bytes]:
    """What was printed, the card and the graph."""
    said = imported(path, "--anyway", *options)
    folder = Path(said["folder"])
    card = Card.model_validate_json((folder / "card.json").read_text())
    return said, card, (folder / "model.onnx").read_bytes()


def p_values(graph: bytes, images: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    together = session.run(["scope_p"], {"image": images})[0]
    alone = [session.run(["scope_p"], {"image": each[None]})[0][0] for each in images]
    assert together.tolist() == alone
    return np.asarray(together)


@pytest.mark.parametrize(
    ("batch", "opset"), [("N", 17), (1, 13), ("N", 18), ("N", 11), (2, 9)], ids=str
)
def test_a_graph_flags_what_it_was_not_made_for(
    tmp_path: Path, batch: str | int, opset: int
) -> None:
    path = foreign_onnx(
        tmp_path / "model.onnx",
        shape=(batch, 3, SIDE, SIDE),
        constants={"weights": color_weights()},
        opset=opset,
    )
    data = labeled_folder(tmp_path / "labeled", images=40)
    _, card, graph = checked(path, "--data", str(data), "--pixels", "unit")
    assert card.scope.features.endswith(" statistics of the image")
    assert 50 <= card.scope.flagged.n <= 70
    assert 0 < card.scope.flagged.lower < 0.05 < card.scope.flagged.upper < 0.2
    outputs = [each.name for each in onnx.load_model_from_string(graph).graph.output]
    assert outputs == ["probabilities", "scope_score", "scope_p"]
    random = np.random.default_rng(7)
    usual = random.integers(0, 120, (60, 3, SIDE, SIDE), np.uint8)
    usual[np.arange(60), np.arange(60) % 3] += 100
    assert np.mean(p_values(graph, usual) <= 0.05) < 0.2
    blank = np.repeat(np.arange(0, 250, 10, dtype=np.uint8), 3 * SIDE * SIDE)
    noise = random.integers(0, 256, (20, 3, SIDE, SIDE), np.uint8)
    assert np.mean(p_values(graph, blank.reshape(-1, 3, SIDE, SIDE)) <= 0.05) > 0.8
    assert np.mean(p_values(graph, noise) <= 0.05) > 0.8
    bright = random.integers(200, 256, (9, 3, SIDE, SIDE), np.uint8)
    assert (p_values(graph, bright) <= 0.05).all()


def test_without_images_it_says_that_there_is_none(tmp_path: Path) -> None:
    weights = {"weights": color_weights()}
    path = foreign_onnx(tmp_path / "model.onnx", linear("Softmax"), constants=weights)
    options = ("--pixels", "unit", "--classes", "a,b,c", "--channels", "rgb")
    said, card, _ = checked(path, *options)
    assert card.scope is None
    assert any("no images" in note for note in said["notes"])


def test_few_images_calibrate_nothing(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", linear(), constants={"weights": color_weights()})
    data = labeled_folder(tmp_path / "labeled", images=4)
    said, card, _ = checked(path, "--data", str(data), "--pixels", "unit")
    assert card.scope is None
    assert any("cannot calibrate" in note for note in said["notes"])
