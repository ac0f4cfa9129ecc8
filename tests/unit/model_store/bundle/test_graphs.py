"""Calibrators, findings and the scope check as ONNX: what other runtimes get."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from scipy.fft import dctn
from scipy.special import softmax

from calibration.calibrators.affine import Affine
from calibration.calibrators.portable import PortableCalibrator
from calibration.scope.p_values import p_values
from model_store.bundle.bundle import write_bundle
from model_store.bundle.calibrator_graph import calibrator_onnx
from model_store.bundle.card import Card
from model_store.bundle.finding_card import finding_card
from model_store.bundle.scope import statistics
from model_store.errors import GraphError
from model_store.runtime import ort
from tests.builders.answers import simulated
from tests.builders.bundles import build_onnx
from tests.builders.findings import FINDINGS, findings_bundle, findings_card, findings_onnx
from tests.builders.scoped import build_scoped

LEVELS = np.random.default_rng(5).normal(128, 30, (30, 3, 1, 1)).clip(0, 255).astype(np.uint8)
NOISE = np.random.default_rng(5).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
IMAGES = np.concatenate([np.broadcast_to(LEVELS, (30, 3, 8, 8)), NOISE])
NAMES = ["scope_score", "scope_p"]
RANK = 1.001 / 1000  # a score that rounding moves past that of one calibration image


def answers(onnx_bytes: bytes, images: NDArray[np.uint8], **chosen: Any) -> list[NDArray[Any]]:
    """Scores and p-values (N,), in a session with these options."""
    options = ort.SessionOptions()
    for name, value in chosen.items():
        setattr(options, name, value)
    session = ort.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    return [np.asarray(each) for each in session.run(NAMES, {"image": images})]


def test_runtimes_and_batches_give_equal_p_values(tmp_path: Path) -> None:
    bundle = build_scoped(tmp_path / "1")
    score, p = answers(bundle.onnx, IMAGES)
    assert len(set(p.tolist())) > 20
    alone = [answers(bundle.onnx, each[None])[1][0] for each in IMAGES]
    np.testing.assert_allclose(alone, p, atol=RANK)
    others = [
        answers(bundle.onnx, IMAGES, graph_optimization_level=level, intra_op_num_threads=threads)
        for level in ort.GraphOptimizationLevel.__members__.values()
        for threads in (1, 4)
    ]
    proto = onnx.load_model_from_string(bundle.onnx)
    others.append(ReferenceEvaluator(proto).run(NAMES, {"image": IMAGES}))
    for other_score, other_p in others:
        np.testing.assert_allclose(other_score, score, rtol=1e-4)
        np.testing.assert_allclose(other_p, p, atol=RANK)
    stored = {each.name: each for each in proto.graph.initializer}
    calibration = numpy_helper.to_array(stored["scope_calibration"])[:-1]
    np.testing.assert_allclose(p, p_values(calibration, score), rtol=1e-6)


def test_a_graph_and_a_card_that_disagree_are_refused(tmp_path: Path) -> None:
    bundle = build_scoped(tmp_path / "1")
    fewer = bundle.card.scope.flagged.model_copy(update={"n": 998})
    other = bundle.card.scope.model_copy(update={"flagged": fewer})
    for card, graph in (
        (bundle.card.model_copy(update={"scope": None}), bundle.onnx),
        (bundle.card, build_onnx()),
        (bundle.card.model_copy(update={"scope": other}), bundle.onnx),
    ):
        with pytest.raises(GraphError):
            write_bundle(tmp_path, card=card, onnx=graph)


@pytest.mark.parametrize(
    "size", [(1, 28, 28), (3, 30, 17), (1, 3, 9), (3, 1, 1), (1, 230, 60)], ids=str
)
def test_statistics_are_those_of_their_definition(size: tuple[int, int, int]) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, *size), dtype=np.uint8)
    found = statistics(images)
    gray = images.mean(axis=1) / 255
    padded = np.pad(gray, [(0, 0), *((0, max(0, 4 - side)) for side in size[1:])])
    rows, columns = (
        range(0, max(1, side - 3), 4 * max(1, side // 56)) for side in padded.shape[1:]
    )
    blocks = np.stack([padded[:, y : y + 4, x : x + 4] for y in rows for x in columns])
    waves = np.abs(dctn(blocks, axes=(2, 3), norm="ortho")).mean(axis=0).reshape(5, 16)
    np.testing.assert_allclose(found[:, :15], np.log(waves[:, 1:] + 1e-3), atol=1e-4)
    if size[0] == 1:  # the first coefficient is four times the mean
        np.testing.assert_allclose(found[:, 15], np.log(waves[:, 0] / 4 + 1e-3), atol=1e-4)
    sides = [max(1, side // 4) for side in size[1:]]
    y, x = ([side // min(side, 7) * each for each in range(min(side, 7))] for side in sides)
    part = gray[:, y][:, :, x].mean(axis=(1, 2))
    np.testing.assert_allclose(found[:, 15 + size[0]], part, rtol=1e-5)


CALIBRATORS = (
    PortableCalibrator(Affine.of_temperature(2.0, 3), ("a", "b", "c")),
    PortableCalibrator(
        Affine((0.5, 0.8, 1.7), (0.9, -0.4, -0.5), method="vector"), ("a", "b", "c"), 0.0025
    ),
    PortableCalibrator(Affine.identity(3), ("a", "b", "c")),
)


def calibrated(model: bytes, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert {node.domain for node in onnx.load_model_from_string(model).graph.node} == {""}
    (given,), (taken,) = session.get_inputs(), session.get_outputs()
    assert taken.name == "calibrated"
    found: npt.NDArray[np.float32] = session.run(None, {given.name: values.astype(np.float32)})[0]
    return found


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda each: each.method)
def test_probabilities_and_logits_are_calibrated_alike(calibrator: PortableCalibrator) -> None:
    p, _ = simulated(0, rows=200, classes=3)
    edge = np.vstack([p, [[1.0, 0.0, 0.0]], [[0.5, 0.5, 0.0]]])
    assert (
        np.abs(
            calibrated(calibrator_onnx(calibrator, "probabilities"), edge) - calibrator(edge)
        ).max()
        < 1e-6
    )
    z = np.random.default_rng(1).normal(4.0, 3.0, (200, 3))
    extreme = np.vstack([z, [[300.0, -300.0, 0.0]]])
    found = calibrated(calibrator_onnx(calibrator, "logits"), extreme)
    assert np.abs(found - calibrator(softmax(extreme, axis=1))).max() < 1e-5


def test_a_confidence_is_a_column() -> None:
    affine = Affine((0.5, 0.5), (0.4, -0.4), method="temperature_bias")
    platt = PortableCalibrator(affine, ("wrong", "right"), of="confidence")
    p = np.linspace(0, 1, 101)
    found = calibrated(calibrator_onnx(platt, "confidence"), p[:, np.newaxis])
    assert found.shape == (101, 1)
    assert np.abs(found[:, 0] - platt(p)).max() < 1e-6


def test_another_kind_of_input_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot take confidence"):
        calibrator_onnx(CALIBRATORS[0], "confidence")


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
