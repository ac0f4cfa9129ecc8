"""Labeled images prove what was said of a model: a contradiction is refused with the option that
mends it, and nothing is published.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from model_store.errors import ForeignModelRefused, LabeledFolderRefused
from tests.builders.bundles import SIDE, foreign_onnx
from tests.builders.foreign import imported, linear, node, run_import, sigmoid

RANDOM = np.random.default_rng(11)
COARSE = SIDE // 4
# Two classes by a pattern of colors, rows and columns, around a brightness: scale, order and layout
# all matter.
PATTERN = RANDOM.normal(0, 1, (3, COARSE, COARSE)).astype(np.float32).repeat(4, 1).repeat(4, 2)
PATTERN -= PATTERN.mean()


def network(path: Path, *, divisor: float = 255, turned: bool = False, **options: Any) -> Path:
    """tanh of differences from mid-gray, and then the pattern; it wants pixels / divisor."""
    pattern = PATTERN.transpose(0, 2, 1) if turned else PATTERN
    weights = np.stack([-pattern.ravel(), pattern.ravel()], axis=1) / 12
    nodes = [
        *options.pop("first", []),
        node("Mul", f"{options.pop('source', 'pixels')} scale", "unit"),
        node("Sub", "unit half", "centered"),
        node("Mul", "centered steep", "steeper"),
        node("Tanh", "steeper", "bent"),
        *linear(node("Softmax", "z", "scores"), logits="z", source="bent"),
    ]
    constants = {
        "scale": np.float32(divisor / 255),
        "half": np.float32(0.5),
        "steep": np.float32(4),
        "weights": weights.astype(np.float32),
    }
    return foreign_onnx(path, nodes, constants=constants | options.pop("constants", {}), **options)


def labeled(root: Path, images: int = 300) -> Path:
    """Images in folders `no` and `yes`, drawn with the probability that the network gives."""
    random = np.random.default_rng(12)
    for name in ("no", "yes"):
        (root / name).mkdir(parents=True)
    for at in range(images):
        coarse = random.integers(0, 256, (3, COARSE, COARSE), dtype=np.uint8)
        pixels = coarse.repeat(4, axis=1).repeat(4, axis=2)
        z = 2 * (np.tanh(4 * (pixels / 255 - 0.5)) * PATTERN).sum() / 12
        name = "yes" if random.random() < sigmoid(np.array(z)) else "no"
        Image.fromarray(pixels.transpose(1, 2, 0)).save(root / name / f"{at}.png")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(labeled(tmp_path_factory.mktemp("proof") / "labeled"))


def refused(path: Path, kind: type[Exception], *options: str) -> str:
    done = run_import(path, *options, "--promote")
    assert isinstance(done.exception, kind), (done.output, done.exception)
    assert not list((path.parent / "store").rglob("card.json"))
    return str(done.exception)


def test_the_trial_finds_pixels_that_a_first_multiplication_hides(
    tmp_path: Path, folder: str
) -> None:
    """The graph multiplies first; what it multiplies with says nothing of what it expects."""
    raw = network(tmp_path / "raw.onnx", divisor=1)
    done = imported(raw, "--data", folder)
    assert done["found"]["preprocessing"].startswith("raw, RGB")
    unit = network(tmp_path / "unit.onnx")
    assert imported(unit, "--data", folder)["found"]["preprocessing"].startswith("unit, RGB")


@pytest.mark.parametrize(
    ("typed", "mended"),
    [
        (("--pixels", "raw"), "--pixels unit --channels rgb"),
        (("--pixels", "unit", "--channels", "bgr"), "--pixels unit --channels rgb"),
        (("--pixels", "127.5/1/1"), "--pixels unit --channels rgb"),
    ],
)
def test_pixels_that_the_labels_contradict(
    tmp_path: Path, folder: str, typed: tuple[str, ...], mended: str
) -> None:
    path = network(tmp_path / "model.onnx")
    said = refused(path, LabeledFolderRefused, "--data", folder, *typed)
    assert mended in said
    assert "NLL" in said
    assert imported(path, "--data", folder, *typed, "--anyway")["notes"]
    assert imported(path, "--data", folder, *mended.split())


def test_columns_that_come_first_are_found(tmp_path: Path, folder: str) -> None:
    path = network(tmp_path / "model.onnx", turned=True)
    said = refused(path, LabeledFolderRefused, "--data", folder, "--pixels", "unit")
    assert "rows and columns exchanged" in said
    assert "model(images.swapaxes(2, 3))" in said


def test_classes_in_another_order_are_refused(tmp_path: Path, folder: str) -> None:
    path = network(tmp_path / "model.onnx")
    said = refused(
        path, LabeledFolderRefused, "--data", folder, "--pixels", "unit", "--classes", "yes,no"
    )
    assert "--classes no,yes" in said


def half(path: Path, *, bias: float, inputs: int) -> Path:
    """A network in half precision."""
    first = [node("Cast", "pixels", "h", to=TensorProto.FLOAT16)]
    nodes = [
        node("Flatten", "h", "flat"),
        node("MatMul", "flat w", "z"),
        node("Mul", "z large", "wide"),
        node("Mul", "wide small", "y"),
        node("Softmax", "y", "p"),
        node("Cast", "p", "scores", to=TensorProto.FLOAT),
    ]
    weights = np.stack([-PATTERN.ravel(), PATTERN.ravel()], axis=1) / 50
    constants = {
        "w": weights.astype(np.float16),
        "large": np.float16(bias),
        "small": np.float16(1 / bias),
    }
    return foreign_onnx(path, [*first, *nodes], constants=constants, shape=("N", 3, inputs, inputs))


def test_half_precision_that_overflows_only_with_other_pixels_is_taken(tmp_path: Path) -> None:
    path = half(tmp_path / "model.onnx", bias=512, inputs=SIDE)
    said = ("--classes", "a,b")
    assert imported(path, *said, "--pixels", "unit")["max_difference"] < 1e-3
    refusal = run_import(path, *said, "--pixels", "1/0/0.001").exception
    assert isinstance(refusal, ForeignModelRefused)
    assert "in 32 bits" in str(refusal)
