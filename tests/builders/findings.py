"""A tiny bundle with several findings an image, made without torch."""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from calibration.bins import BinSums
from calibration.conformal import finding_sets
from calibration.measures.summary import Measures
from model_store.bundle.bundle import Bundle, read_bundle, write_bundle
from model_store.bundle.calibration_card import (
    CalibrationCard,
    ConformalCard,
    SubgroupCalibration,
)
from model_store.bundle.card import Card
from model_store.bundle.finding_card import FindingCard
from model_store.bundle.graph import findings_end, name_findings, with_calibrator
from model_store.bundle.graph_part import GraphPart
from model_store.store.store import Store
from tests.builders.bundles import build_card, published

FINDINGS = ("Edema", "Effusion", "Mass")
SIDE = 8


def findings_onnx(
    names: tuple[str, ...] = FINDINGS,
    *,
    temperatures: tuple[float, ...] | None = None,
    biases: tuple[float, ...] | None = None,
    seed: int = 0,
) -> bytes:
    """Linear in all pixels: sigmoid((W x + b) / temperature + bias), x = image / 255."""
    rng, pixels = np.random.default_rng(seed), 3 * SIDE * SIDE
    weights = rng.normal(0, 6 / np.sqrt(pixels), (pixels, len(names))).astype(np.float32)
    part = GraphPart("tiny_")
    floats = part.add("Cast", "image", to=TensorProto.FLOAT)
    flat = part.add("Flatten", part.add("Mul", floats, np.array([1 / 255], np.float32)))
    logits = part.add("Gemm", flat, weights, -0.5 * weights.sum(axis=0))
    calibrators = findings_end(part, logits, len(names))
    graph = helper.make_graph(
        part.nodes,
        "tiny_findings",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(names)])],
        [*part.constants, *calibrators],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    name_findings(model, names)
    onnx.checker.check_model(model)
    return with_calibrator(
        bytes(model.SerializeToString()),
        temperature=temperatures or (1.0,) * len(names),
        class_bias=biases or (0.0,) * len(names),
    )


def findings_card(
    names: tuple[str, ...] = FINDINGS,
    *,
    name: str = "chest",
    version: int = 1,
    thresholds: tuple[float, ...] | None = None,
    temperatures: tuple[float, ...] | None = None,
    biases: tuple[float, ...] | None = None,
    sets: bool = False,
    subgroups: Mapping[str, SubgroupCalibration] | None = None,
) -> Card:
    """A card with a made-up, calibrated reference of 500 answers for each finding.

    `sets`: with prediction sets; `subgroups`: a calibrator for tags, by finding.
    """
    count = len(names)
    of_card = build_card(name=name, version=version, temperature=1.0, threshold=None)
    each = tuple(
        FindingCard(
            name=names[k],
            threshold=(thresholds or (0.5,) * count)[k],
            labeled=500,
            positives=int(outcomes.sum()),
            calibration=_calibration(
                k, (temperatures or (1.0,) * count)[k], (biases or (0.0,) * count)[k]
            ).model_copy(update={"subgroups": _subgroups((subgroups or {}).get(names[k]))}),
            conformal=_sets(k, (thresholds or (0.5,) * count)[k]) if sets else None,
        )
        for k, (_, outcomes) in enumerate(map(_reference, range(count)))
    )
    pooled = [np.concatenate(parts) for parts in zip(*map(_reference, range(count)), strict=True)]
    calibration = _described(*pooled, temperature=1.0, bias=None)
    return Card.model_validate(
        of_card.model_dump()
        | {"classes": names, "findings": each, "calibration": calibration, "referral": None}
    )


def findings_bundle(folder: Path, version: int = 1, *, seed: int = 0, **options: object) -> Bundle:
    """Write a bundle and read it back; options as in `findings_card`."""
    folder.mkdir(parents=True, exist_ok=True)
    card = findings_card(version=version, **options)
    each = [one.calibration for one in card.findings or ()]
    model = findings_onnx(
        card.classes,
        temperatures=tuple(one.temperature for one in each),
        biases=tuple((one.class_bias or (0.0, 0.0))[1] for one in each),
        seed=seed,
    )
    write_bundle(folder, card=card, onnx=model)
    return read_bundle(folder)


def publish_findings(root: Path, **options: object) -> Store:
    """A store with version 1 of "chest" in production."""
    return published(root, functools.partial(findings_bundle, **options), name="chest")


def _reference(position: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and outcomes, (500,) each: calibrated, and rarer by the position."""
    rng = np.random.default_rng(position)
    probability = rng.beta(1, 2 + position, 500)
    return probability, rng.random(500) < probability


def _sets(position: int, threshold: float) -> ConformalCard:
    found = finding_sets(*_reference(position), present_from=threshold)
    assert found is not None
    return ConformalCard.from_sets(found)


def _subgroups(entry: SubgroupCalibration | None) -> tuple[SubgroupCalibration, ...] | None:
    return None if entry is None else (entry,)


def _calibration(position: int, temperature: float, bias: float) -> CalibrationCard:
    return _described(*_reference(position), temperature=temperature, bias=bias)


def _described(
    probability: np.ndarray, outcome: np.ndarray, *, temperature: float, bias: float | None
) -> CalibrationCard:
    return CalibrationCard.from_reference(
        method="none" if bias is None else "temperature",
        temperature=temperature,
        class_bias=None if bias is None else (0.0, bias),
        split="val",
        sums=BinSums.from_predictions(probability, outcome),
        measures=Measures.of_presence(
            np.stack([1 - probability, probability], axis=1), outcome.astype(int)
        ),
    )
