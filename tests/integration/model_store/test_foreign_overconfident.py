"""Overconfident models, whose probabilities are exact zeros and ones, are calibrated."""

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, helper

from calibration.calibrators.temperature import softmax
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
