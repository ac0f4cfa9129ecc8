"""Twenty-odd models as many makers write them: each equal to its own arithmetic, or refused with
what to do. Those of real makers are in tests/e2e/test_import_makers.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from calibration.calibrators.temperature import softmax
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from tests.builders.bundles import SIDE, foreign_onnx
from tests.builders.foreign import Array, answers, imported, linear, node, run_import

NAMED = ("--classes", "a,b,c")
UNIT = (*NAMED, "--pixels", "unit", "--channels", "rgb")
EXCLUSIVE = (*UNIT, "--scores", "softmax")
RANDOM = np.random.default_rng(5)
WEIGHTS = RANDOM.normal(0, 0.2, (3 * SIDE * SIDE, 3)).astype(np.float32)
GRAY = RANDOM.normal(0, 0.5, (SIDE * SIDE, 3)).astype(np.float32)
RGB = RANDOM.integers(0, 256, (5, 3, SIDE, SIDE), dtype=np.uint8)
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)
CAFFE = np.array([103.939, 116.779, 123.68], np.float32).reshape(1, 3, 1, 1)
TWO = np.array([2], np.float32)
NHWC = WEIGHTS.reshape(3, SIDE, SIDE, 3).transpose(1, 2, 0, 3).reshape(-1, 3)


def flat(x: Array) -> Array:
    return x.reshape(len(x), -1)


def unit(pixels: Array) -> Array:
    return flat(pixels / np.float32(255)) @ WEIGHTS


@dataclass(frozen=True)
class Case:
    """What is written, what is typed, and what the model itself says of pixels (N, C, H, W)."""

    build: Callable[[Path], Any]
    options: tuple[str, ...]
    expected: Callable[[Array], Array]
    limit: float = 1e-5
    channels: int = 3


def graph(*nodes: Any, **options: Any) -> Callable[[Path], Any]:
    """Write these nodes, with WEIGHTS unless others are given."""
    constants = {"weights": WEIGHTS, "two": TWO} | dict(options.pop("constants", {}))
    return lambda path: foreign_onnx(path, nodes, constants=constants, **options)


def after(operator: str, **attributes: Any) -> list[Any]:
    return linear(node(operator, "z", "scores", **attributes), logits="z")


def external(path: Path) -> None:
    graph(*after("Softmax"))(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)


def named(path: Path) -> None:
    graph(*after("Softmax"))(path)
    model = onnx.load(path)
    helper.set_model_props(model, {"class_names": "['lung', 'heart', 'bone']"})
    onnx.save(model, path)


class _Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self._left = iter([{"pixels": RGB.astype(np.float32) / 255}])

    def get_next(self) -> Any:
        return next(self._left, None)


def quantized(path: Path) -> None:
    plain = path.with_name("plain.onnx")
    graph(*after("Softmax"), shape=("N", 3, SIDE, SIDE))(plain)
    quantize_static(str(plain), str(path), _Reader(), quant_format=QuantFormat.QDQ)


def half(path: Path) -> None:
    nodes = [node("Flatten", "pixels", "flat"), node("MatMul", "flat w", "z")]
    foreign_onnx(
        path,
        [*nodes, node("Softmax", "z", "scores")],
        constants={"w": WEIGHTS.astype(np.float16)},
        elem_type=TensorProto.FLOAT16,
    )
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, path)


MAPS = [
    node("Transpose", "pixels", "nchw", perm=[0, 3, 1, 2]),
    node("Div", "nchw all", "unit"),
    node("Conv", "unit kernel", "maps", kernel_shape=[SIDE, SIDE]),
]
POOLED = [
    node("GlobalAveragePool", "maps", "pooled"),
    node("Squeeze", "pooled axes", "z"),
    node("Softmax", "z", "scores"),
]
TF2ONNX = {
    "kernel": np.ascontiguousarray(WEIGHTS.T.reshape(3, 3, SIDE, SIDE)),
    "all": np.array(255, np.float32),
    "axes": np.array([2, 3], np.int64),
}
CASES = {
    "logits": Case(graph(*linear()), EXCLUSIVE, lambda x: softmax(unit(x))),
    "log-softmax": Case(graph(*after("LogSoftmax", axis=1)), UNIT, lambda x: softmax(unit(x))),
    "a temperature inside": Case(
        graph(*linear(node("Div", "z two", "y"), node("Softmax", "y", "scores"), logits="z")),
        UNIT,
        lambda x: softmax(unit(x) / 2),
    ),
    "ImageNet's normalization inside": Case(
        graph(
            node("Sub", "pixels mean", "moved"),
            node("Div", "moved std", "x"),
            *linear(node("Softmax", "z", "scores"), logits="z", source="x"),
            constants={"mean": MEAN, "std": STD},
        ),
        UNIT,
        lambda x: softmax(flat((x / np.float32(255) - MEAN) / STD) @ WEIGHTS),
    ),
    "ImageNet's normalization outside": Case(
        graph(*after("Softmax")),
        (*NAMED, "--pixels", "imagenet", "--channels", "rgb"),
        lambda x: softmax(flat((x / np.float32(255) - MEAN) / STD) @ WEIGHTS),
    ),
    "as tf2onnx writes, pixels divided inside": Case(
        graph(*MAPS, *POOLED, shape=("N", SIDE, SIDE, 3), constants=TF2ONNX),
        (*NAMED, "--pixels", "raw"),
        lambda x: softmax(unit(x)),
    ),
    "Caffe's BGR": Case(
        graph(*after("Softmax"), constants={"weights": WEIGHTS / 50}),
        (*NAMED, "--pixels", "caffe"),
        lambda x: softmax(flat(x[:, ::-1].astype(np.float32) - CAFFE) @ (WEIGHTS / 50)),
        limit=1e-4,
    ),
    "inverted pixels": Case(
        graph(*after("Softmax")),
        (*NAMED, "--pixels", "255/1/-1"),
        lambda x: softmax(flat(1 - x / np.float32(255)) @ WEIGHTS),
    ),
    "uint8, colors last": Case(
        graph(
            node("Cast", "pixels", "x", to=TensorProto.FLOAT),
            *linear(node("Softmax", "z", "scores"), logits="z", source="x"),
            shape=("N", SIDE, SIDE, 3),
            elem_type=TensorProto.UINT8,
            constants={"weights": NHWC / 255},
        ),
        (*NAMED, "--channels", "rgb"),
        lambda x: softmax(unit(x)),
        limit=1e-4,
    ),
    "four images at a time": Case(
        graph(*after("Softmax"), shape=(4, 3, SIDE, SIDE)), UNIT, lambda x: softmax(unit(x))
    ),
    "gray": Case(
        graph(*after("Softmax"), shape=("N", 1, SIDE, SIDE), constants={"weights": GRAY}),
        (*NAMED, "--pixels", "mnist"),
        lambda x: softmax(flat((x / np.float32(255) - 0.1307) / 0.3081) @ GRAY),
        channels=1,
    ),
    "a vector of gray pixels": Case(
        graph(
            node("MatMul", "pixels weights", "z"),
            node("Softmax", "z", "scores"),
            shape=("N", SIDE * SIDE),
            constants={"weights": GRAY},
        ),
        (*NAMED, "--pixels", "unit", "--size", f"{SIDE}x{SIDE}"),
        lambda x: softmax(flat(x / np.float32(255)) @ GRAY),
        channels=1,
    ),
    "any number of channels, of which one runs": Case(
        graph(*MAPS, *POOLED, shape=("N", "H", "W", "C"), constants=TF2ONNX),
        (*NAMED, "--pixels", "raw", "--size", f"{SIDE}x{SIDE}"),
        lambda x: softmax(unit(x)),
    ),
    "names in the metadata": Case(named, UNIT[2:], lambda x: softmax(unit(x))),
    "logits and probabilities": Case(
        graph(
            *linear(node("Softmax", "z", "p"), node("Identity", "z", "raw"), logits="z"),
            outputs=("raw", "p"),
        ),
        (*UNIT, "--output", "p"),
        lambda x: softmax(unit(x)),
    ),
    "scores with two dimensions to spare": Case(
        graph(
            *linear(
                node("Reshape", "z shape", "maps"),
                node("Softmax", "maps", "scores", axis=1),
                logits="z",
            ),
            constants={"shape": np.array([0, 3, 1, 1], np.int64)},
        ),
        UNIT,
        lambda x: softmax(unit(x)),
    ),
    "int8, quantized by ONNX Runtime": Case(quantized, UNIT, lambda x: softmax(unit(x)), limit=0.1),
    "half precision": Case(half, UNIT, lambda x: softmax(unit(x)), limit=2e-2),
    "weights in another file": Case(external, UNIT, lambda x: softmax(unit(x))),
    "double precision": Case(
        graph(
            *after("Softmax"),
            elem_type=TensorProto.DOUBLE,
            constants={"weights": WEIGHTS.astype(np.float64)},
        ),
        UNIT,
        lambda x: softmax(unit(x)),
    ),
    "one sigmoid": Case(
        graph(*after("Sigmoid"), constants={"weights": WEIGHTS[:, :1].copy()}),
        ("--classes", "benign,malignant", *UNIT[2:]),
        lambda x: softmax(np.hstack([np.zeros((len(x), 1)), unit(x)[:, :1]])),
    ),
    "a mean of two networks": Case(
        graph(
            *linear(
                node("Softmax", "z", "p"),
                node("Mul", "z two", "y"),
                node("Softmax", "y", "q"),
                node("Mean", "p q", "scores"),
                logits="z",
            )
        ),
        UNIT,
        lambda x: (softmax(unit(x)) + softmax(2 * unit(x))) / 2,
    ),
    "an image and its mirror image": Case(
        graph(
            node("Slice", "pixels starts ends axes steps", "mirrored"),
            *linear(node("Softmax", "z", "p"), logits="z"),
            node("Flatten", "mirrored", "flat2"),
            node("MatMul", "flat2 weights", "y"),
            node("Softmax", "y", "q"),
            node("Mean", "p q", "scores"),
            constants={
                "starts": np.array([-1]),
                "ends": np.array([-(2**31)]),
                "axes": np.array([3]),
                "steps": np.array([-1]),
            },
        ),
        UNIT,
        lambda x: (softmax(unit(x)) + softmax(unit(x[..., ::-1]))) / 2,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_the_model(tmp_path: Path, case: str) -> None:
    this = CASES[case]
    path = tmp_path / "model.onnx"
    this.build(path)
    done = imported(path, *this.options)
    pixels = RGB[:, : this.channels]
    assert np.abs(answers(done, path, pixels) - this.expected(pixels)).max() < this.limit
    assert done["max_difference"] < 1e-3


def with_age(path: Path) -> None:
    graph(*linear(node("Add", "z age", "scores"), logits="z"))(path)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, [1]))
    onnx.save(model, path)


def pairs(path: Path) -> None:
    """A softmax over absent and present for each of two findings."""
    nodes = linear(
        node("MatMul", "flat weights", "y"),
        node("Softmax", "z", "edema"),
        node("Softmax", "y", "mass"),
        logits="z",
    )
    weights = WEIGHTS[:, :2].copy()
    foreign_onnx(path, nodes, outputs=("edema", "mass"), constants={"weights": weights})
    model = onnx.load(path)
    model.graph.node[2].input[1] = "other"
    model.graph.initializer.append(onnx.numpy_helper.from_array(-2 * weights, "other"))
    onnx.save(model, path)


# What is written, what is typed, and what the refusal must name.
OPEN: dict[str, tuple[Callable[[Path], Any], tuple[str, ...], tuple[str, ...]]] = {
    "logits": (graph(*linear()), UNIT, ("--scores softmax", "--scores sigmoid")),
    "pixels": (graph(*after("Softmax")), NAMED, ("--pixels", "--channels")),
    "names": (graph(*after("Softmax")), UNIT[2:], ("--classes FIRST,SECOND,THIRD",)),
    "the size of a vector": (
        graph(
            node("MatMul", "pixels weights", "scores"),
            shape=("N", SIDE * SIDE),
            constants={"weights": GRAY},
        ),
        UNIT,
        ("--size",),
    ),
    "whether images have colors": (
        graph(
            node("GlobalAveragePool", "pixels", "x"),
            node("ReduceSum", "x all", "y", keepdims=0),
            node("Expand", "y one", "z"),
            node("Sigmoid", "z", "scores"),
            shape=("N", "C", SIDE, SIDE),
            constants={"all": np.array([1, 2, 3]), "one": np.array([1, 1])},
        ),
        ("--classes", "no,yes", *UNIT[2:]),
        ("1 channel", "[N, 3, H, W]"),
    ),
    "the size": (
        graph(
            node("GlobalAveragePool", "pixels", "x"),
            node("Flatten", "x", "scores"),
            shape=("N", 3, "H", "W"),
        ),
        UNIT,
        ("--size",),
    ),
    "a pair for each finding": (pairs, ("--classes", "no,yes", *UNIT[2:]), ("--output",)),
}


@pytest.mark.parametrize("case", OPEN)
def test_what_two_readings_answer_differently_is_asked(tmp_path: Path, case: str) -> None:
    build, options, named = OPEN[case]
    build(tmp_path / "model.onnx")
    said = run_import(tmp_path / "model.onnx", *options).exception
    assert isinstance(said, ForeignModelUnclear)
    assert all(each in str(said) for each in named), said


def test_an_image_and_an_age_are_refused_with_the_reason(tmp_path: Path) -> None:
    with_age(tmp_path / "model.onnx")
    said = run_import(tmp_path / "model.onnx", *UNIT).exception
    assert isinstance(said, ForeignModelRefused)
    assert "'age'" in str(said)
