"""Labeled images calibrate models that are overconfident, and fit a scope check."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper

from calibration.calibrators.temperature import softmax
from model_store.bundle.card import Card
from model_store.runtime import ort
from tests.builders.bundles import SIDE, color_weights, foreign_onnx, labeled_folder, linear
from tests.builders.foreign import imported

COLORS = color_weights() * np.float32(16)
# Logits hundreds apart: exp(-110) is 0 in float32.
WEIGHTS = COLORS - COLORS.mean(axis=1, keepdims=True)


def classifier() -> list[NodeProto]:
    """Return what skl2onnx makes of a logistic regression: a softmax inside one operator."""
    return [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node(
            "LinearClassifier",
            ["flat"],
            ["label", "shares"],
            domain="ai.onnx.ml",
            classlabels_ints=[0, 1, 2],
            coefficients=WEIGHTS.T.ravel().tolist(),
            intercepts=[0.0, 0.0, 0.0],
            multi_class=1,
            post_transform="SOFTMAX",
        ),
        helper.make_node("Normalizer", ["shares"], ["scores"], domain="ai.onnx.ml", norm="L1"),
    ]


def hidden_sigmoid() -> list[NodeProto]:
    """Return independent probabilities whose sigmoid cannot be cut off."""
    nodes = linear("Sigmoid")
    nodes[-1].output[0] = "shares"
    return [*nodes, helper.make_node("Clip", ["shares"], ["scores"])]


def mislabeled(root: Path) -> Path:
    """Write a labeled folder in which every sixth image is in the folder of another class."""
    labeled_folder(root, images=30)
    for name, other in zip("abc", "bca", strict=True):
        for image in sorted((root / name).glob("image*.png"))[::6]:
            image.rename(root / other / f"from_{name}_{image.name}")
    return root


def said(folder: Path) -> tuple[str, ...]:
    data = mislabeled(folder / "labeled")
    return "--data", str(data), "--pixels", "unit", "--channels", "rgb"


@pytest.mark.parametrize(
    ("nodes", "options"),
    [
        (classifier(), ()),
        (linear("Softmax"), ()),
        (hidden_sigmoid(), ("--scores", "softmax")),
    ],
    ids=["LinearClassifier", "Softmax", "hidden Sigmoid"],
)
def test_exact_zeros_are_calibrated(
    tmp_path: Path, nodes: list[NodeProto], options: tuple[str, ...]
) -> None:
    path = foreign_onnx(
        tmp_path / "m.onnx", nodes, constants={"weights": WEIGHTS}, domains=["ai.onnx.ml"]
    )
    done = imported(path, *said(tmp_path), *options)
    assert done["temperature"] > 1.5
    assert done["max_difference"] < 1e-5
    assert done["measures"]["accuracy"] < 0.9
    assert done["measures"]["mean_confidence"] < 0.95
    assert done["measures"]["nll"] < 1


def test_what_is_published_divides_the_logits_behind_exact_zeros(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", linear("Softmax"), constants={"weights": WEIGHTS})
    done = imported(path, *said(tmp_path))
    pixels = np.zeros((3, 3, SIDE, SIDE), np.uint8)
    pixels[range(3), range(3)] = 120
    prepared = pixels / np.float32(255)
    logits = prepared.reshape(3, -1).astype(np.float64) @ WEIGHTS
    theirs = ort.InferenceSession(path.read_bytes()).run(None, {"pixels": prepared})[0]
    assert (theirs == np.eye(3)).all()
    ours = ort.InferenceSession((Path(done["folder"]) / "model.onnx").read_bytes()).run(
        None, {"image": pixels}
    )[0]
    assert np.abs(ours - softmax(logits / done["temperature"])).max() < 1e-5
    assert ours.min() > 1e-6


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
