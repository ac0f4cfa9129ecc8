"""The scope check in a bundle: what is refused, and what other runtimes get."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from scipy.fft import dctn

from calibration.scope.p_values import p_values
from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import NO_PROMISE
from model_store.bundle.model_card import model_card
from model_store.bundle.scope import ScopeFeatures, fit_scope, statistics
from model_store.errors import GraphError
from model_store.runtime import ort
from tests.builders.bundles import build_onnx
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


def test_the_card_says_what_is_promised(tmp_path: Path) -> None:
    card = build_scoped(tmp_path / "1").card
    assert card.scope.flagged.n == 999
    assert card.scope.flagged.lower < 0.05 < card.scope.flagged.upper
    assert NO_PROMISE in model_card(card)


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


def test_few_images_make_no_check() -> None:
    rows = np.zeros((30, 3), np.float32)
    assert fit_scope(ScopeFeatures(rows, rows[:18], maps=0), split="val") is None


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
