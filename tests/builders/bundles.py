"""Tiny sound bundles made without torch, their cards and graphs, and images to send."""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from model_store.bundle.bundle import Bundle, read_bundle, write_bundle
from model_store.bundle.calibration_card import CalibrationCard, Referral, SubgroupCalibration
from model_store.bundle.card import Card, InputCard, Provenance
from model_store.bundle.probing import make_probes
from model_store.image.probes import Probes
from model_store.store.store import Store

CLASSES = ("benign", "malignant", "normal")


def picture(seed: int = 0, size: tuple[int, int] = (32, 24), mode: str = "RGB") -> Image.Image:
    """A blurred random image: it has structure, and no two seeds look the same to a model."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """The bytes of the image's file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(seed: int = 0, size: tuple[int, int] = (32, 24), mode: str = "RGB") -> bytes:
    """A lossless image; size is (width, height)."""
    return encode(picture(seed, size, mode), "PNG")


def jpeg(seed: int = 0, size: tuple[int, int] = (32, 24)) -> bytes:
    """An image of quality 90; size is (width, height)."""
    return encode(picture(seed, size), "JPEG", quality=90)


def build_onnx(
    *,
    classes: int = 3,
    channels: int = 3,
    height: int = 8,
    width: int = 8,
    temperature: float = 1.5,
    seed: int = 0,
) -> bytes:
    """A linear classifier on all pixels: softmax((W x + b) / temperature), x = image / 255."""
    rng, pixels = np.random.default_rng(seed), channels * height * width
    weights = rng.normal(0, 6 / np.sqrt(pixels), (pixels, classes))
    constants = {
        "scale": np.array([1 / 255]),
        "weights": weights,
        "bias": -0.5 * weights.sum(axis=0),  # a gray image is undecided
        "temperature": np.array([temperature]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["cooled"]),
        helper.make_node("Softmax", ["cooled"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", channels, height, width])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def build_card(
    *,
    name: str = "tiny",
    version: int = 1,
    classes: tuple[str, ...] = CLASSES,
    channels: int = 3,
    height: int = 8,
    width: int = 8,
    resize: str = "stretch",
    temperature: float = 1.5,
    threshold: float | None = 0.6,
    seed: int = 0,
) -> Card:
    """A card with a made-up, calibrated reference of 500 answers."""
    return Card(
        name=name,
        version=version,
        classes=classes,
        input=InputCard.model_validate(
            {"channels": channels, "height": height, "width": width, "resize": resize}
        ),
        provenance=Provenance(
            dataset="generated",
            fingerprint="0" * 64,
            backbone="linear",
            loss="ce",
            seed=seed,
            epochs=0,
            libraries={"onnx": onnx.__version__},
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        ),
        calibration=_calibration(len(classes), temperature, seed),
        referral=None if threshold is None else _referral(threshold),
    )


def build_bundle(folder: Path, version: int = 1, *, off_by: float = 0, **options: Any) -> Bundle:
    """Write a bundle into `folder` and read it back; options as in `build_card`.

    Its probes say other probabilities than the graph, by `off_by`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    card = build_card(version=version, **options)
    size = {"channels": card.input.channels, "height": card.input.height, "width": card.input.width}
    model = build_onnx(
        classes=len(card.classes),
        temperature=card.calibration.temperature,
        seed=options.get("seed", 0),
        **size,
    )
    probes = make_probes(model, card.input.spec)
    if off_by:  # as where the graph computes otherwise
        probes = Probes(probes.grids, probes.probabilities + off_by)
    write_bundle(folder, card=card, onnx=model, probes=probes)
    return read_bundle(folder)


def subgroup(
    values: tuple[str, ...],
    *,
    key: str = "site",
    temperature: float = 2.0,
    class_bias: tuple[float, ...] | None = None,
    **promises: Any,
) -> SubgroupCalibration:
    """A calibrator of a subgroup, without promises unless they are given."""
    measures = Measures.from_probabilities([[0.5, 0.5]], [0]).as_dict()
    return SubgroupCalibration(
        key=key,
        values=values,
        temperature=temperature,
        class_bias=class_bias,
        labels=60,
        held_out=40,
        before=measures,
        after=measures,
        **promises,
    )


def with_subgroups(
    folder: Path, *subgroups: SubgroupCalibration, version: int = 1, **options: Any
) -> Bundle:
    """A bundle whose card has these calibrators; options as in `build_card`."""
    folder.mkdir(parents=True, exist_ok=True)
    conformal = options.pop("conformal", None)
    card = build_card(version=version, **options)
    calibration = card.calibration.model_copy(update={"subgroups": subgroups})
    card = card.model_copy(update={"calibration": calibration, "conformal": conformal})
    write_bundle(folder, card=card, onnx=build_onnx(temperature=card.calibration.temperature))
    return read_bundle(folder)


def publish_tiny(root: Path, **options: Any) -> Store:
    """A store with version 1 of "tiny" in production; options as in `build_bundle`."""
    return published(root, functools.partial(build_bundle, **options))


def published(root: Path, build: Callable[..., Any], *, name: str = "tiny") -> Store:
    """A store with version 1 of a model in production; `build` as `Store.publish` takes it."""
    store = Store(root)
    store.publish(name, build)
    store.promote(name, 1)
    return store


def _referral(threshold: float) -> Referral:
    return Referral(threshold=threshold, promised_accuracy=0.9, delta=0.05, coverage=0.7)


@functools.cache  # cards are frozen, and tests make many
def _calibration(classes: int, temperature: float, seed: int) -> CalibrationCard:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), 500)
    labels = (probabilities.cumsum(axis=1) > rng.random((500, 1))).argmax(axis=1)
    measures = Measures.from_probabilities(probabilities, labels)
    sums = BinSums.from_predictions(
        probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    )
    return CalibrationCard.from_reference(
        temperature=temperature, split="val", sums=sums, measures=measures
    )


SIDE = 16


def foreign_onnx(
    path: Path,
    nodes: Sequence[NodeProto] = (),
    *,
    shape: Sequence[int | str] = ("N", 3, SIDE, SIDE),
    outputs: Sequence[str] = ("scores",),
    constants: Mapping[str, Any] | None = None,
    opset: int = 17,
    domains: Sequence[str] = (),
    elem_type: int = TensorProto.FLOAT,
) -> Path:
    """Write a graph from `pixels` to `outputs`, by default linear with three classes."""
    tensors = {
        "weights": np.random.default_rng(0).normal(0, 0.5, (3 * SIDE * SIDE, 3)).astype(np.float32)
    }
    graph = helper.make_graph(
        [*(nodes or linear())],
        "foreign",
        [helper.make_tensor_value_info("pixels", elem_type, list(shape))],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in outputs],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in (tensors | dict(constants or {})).items()
        ],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(each, 1) for each in domains)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def linear(ending: str = "", source: str = "pixels") -> list[NodeProto]:
    """Flatten and MatMul, then an operator such as Softmax."""
    scores = "logits" if ending else "scores"
    nodes = [
        helper.make_node("Flatten", [source], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], [scores]),
    ]
    return [*nodes, helper.make_node(ending, ["logits"], ["scores"])] if ending else nodes


def labeled_folder(
    root: Path,
    classes: Sequence[str] = ("a", "b", "c"),
    *,
    images: int = 12,
    size: int = SIDE,
    name: str = "image_{number:02}.png",
) -> Path:
    """Write images of each class: noise that is brightest in the class's color.

    A patient has three, who may be in the `name`.
    """
    random = np.random.default_rng(1)
    for at, label in enumerate(classes):
        (root / label).mkdir(parents=True)
        for number in range(images):
            pixels = random.integers(0, 120, (size, size, 3), dtype=np.uint8)
            pixels[..., at % 3] += 100
            Image.fromarray(pixels).save(
                root / label / name.format(patient=number // 3, number=number)
            )
    return root


def color_weights(*, bgr: bool = False) -> Any:
    """Weights (3 * SIDE * SIDE, 3) that answer the brightest color, for pixels from 0 to 1."""
    plane = np.repeat(np.eye(3, dtype=np.float32), SIDE * SIDE, axis=0) * 20 / (SIDE * SIDE)
    return np.ascontiguousarray(plane[::-1] if bgr else plane)
