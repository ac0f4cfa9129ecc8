"""An imported graph gets a scope check if there are images to fit it on."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from model_store.bundle.card import Card
from model_store.runtime import ort
from tests.builders.bundles import SIDE, color_weights, foreign_onnx, labeled_folder, linear
from tests.builders.foreign import imported

CHANNELS = 6


def convolutions() -> tuple[list[Any], dict[str, Any]]:
    """Fourteen convolutions, a mean, and a product: what most classifiers are made of."""
    random = np.random.default_rng(0)
    shapes = [(CHANNELS, 3, 3, 3), *[(CHANNELS, CHANNELS, 1, 1)] * 13]
    weights = {f"w{place}": random.normal(0, 0.5, shape) for place, shape in enumerate(shapes)}
    nodes = []
    for place, name in enumerate(weights):
        given = f"map{place}" if place else "pixels"
        stride = 1 if place else 2
        nodes.append(helper.make_node("Conv", [given, name], [f"c{place}"], strides=[stride] * 2))
        nodes.append(helper.make_node("Relu", [f"c{place}"], [f"map{place + 1}"]))
    nodes += [
        helper.make_node("GlobalAveragePool", [f"map{len(weights)}"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "last"], ["scores"]),
    ]
    constants = weights | {"last": random.normal(0, 1, (CHANNELS, 3))}
    return nodes, {name: value.astype(np.float32) for name, value in constants.items()}


def checked(path: Path, *options: str) -> tuple[dict[str, Any], Card, bytes]:
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
def test_a_convolutional_graph_flags_what_it_was_not_made_for(
    tmp_path: Path, batch: str | int, opset: int
) -> None:
    nodes, constants = convolutions()
    path = foreign_onnx(
        tmp_path / "model.onnx",
        nodes,
        shape=(batch, 3, SIDE, SIDE),
        constants=constants,
        opset=opset,
    )
    data = labeled_folder(tmp_path / "labeled", images=40)
    _, card, graph = checked(path, "--data", str(data), "--pixels", "unit")
    assert card.scope.features.startswith(f"means of {6 * CHANNELS} ")
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


def test_a_single_product_is_checked_by_the_image_alone(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "model.onnx", constants={"weights": color_weights()})
    data = labeled_folder(tmp_path / "labeled", images=40)
    _, card, graph = checked(path, "--data", str(data), "--pixels", "unit")
    assert card.scope is not None
    images = np.random.default_rng(0).integers(200, 256, (9, 3, SIDE, SIDE), np.uint8)
    assert (p_values(graph, images) <= 0.05).all()


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
