"""The scope check in a bundle: what is refused, and what other runtimes get."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from calibration.scope.p_values import p_values
from model_store.bundle.bundle import Bundle, read_bundle, write_bundle
from model_store.bundle.model_card import model_card
from model_store.bundle.repository import write_triton
from model_store.bundle.scope_card import NO_PROMISE
from model_store.bundle.scope_fit import ScopeFeatures, fit_scope
from model_store.bundle.scope_graph import SCOPE_FEATURES, with_scope
from model_store.errors import GraphError
from model_store.runtime import ort
from tests.builders.bundles import build_card, build_onnx

IMAGES = np.random.default_rng(5).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)


def with_features(model: bytes) -> bytes:
    """The means of the channels as features."""
    proto = onnx.load_model_from_string(model)
    proto.graph.node.append(
        helper.make_node("ReduceMean", ["scaled"], [SCOPE_FEATURES], axes=[2, 3], keepdims=0)
    )
    proto.graph.output.append(
        helper.make_tensor_value_info(SCOPE_FEATURES, TensorProto.FLOAT, ["N", 3])
    )
    return bytes(proto.SerializeToString())


def scoped(folder: Path, n: int = 99) -> Bundle:
    random = np.random.default_rng(0)
    means = random.normal(0.5, 0.02, (200 + n, 3)).astype(np.float32)
    predicted = np.arange(n) % 3
    card = build_card()
    check = fit_scope(
        ScopeFeatures(means[:200], means[200:], "means of channels"),
        split="val",
        classes=card.classes,
        predicted=predicted,
    )
    assert check is not None
    folder.mkdir(exist_ok=True)
    graph = with_scope(with_features(build_onnx()), check.parameters)
    write_bundle(folder, card=card.model_copy(update={"scope": check.card}), onnx=graph)
    return read_bundle(folder)


def test_runtimes_and_batches_give_equal_p_values(tmp_path: Path) -> None:
    bundle = scoped(tmp_path / "1")
    names = ["scope_score", "scope_p"]
    session = ort.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    score, p = session.run(names, {"image": IMAGES})
    alone = [session.run(names, {"image": each[None]}) for each in IMAGES]
    assert p.tolist() == [each[1][0] for each in alone]
    reference_score, reference_p = ReferenceEvaluator(onnx.load_model_from_string(bundle.onnx)).run(
        names, {"image": IMAGES}
    )
    np.testing.assert_allclose(score, reference_score, rtol=1e-4)
    np.testing.assert_allclose(p, reference_p, rtol=1e-6)
    stored = {
        each.name: each for each in onnx.load_model_from_string(bundle.onnx).graph.initializer
    }
    calibration = numpy_helper.to_array(stored["scope_calibration"])[:-1]
    np.testing.assert_allclose(p, p_values(calibration, score), rtol=1e-6)


def test_the_card_says_what_is_promised(tmp_path: Path) -> None:
    card = scoped(tmp_path / "1").card
    assert card.scope is not None
    assert card.scope.flagged.n == 99
    assert card.scope.flagged.lower < 0.05 < card.scope.flagged.upper
    assert set(card.scope.by_class or ()) == set(card.classes)
    assert NO_PROMISE in model_card(card)


def test_a_graph_and_a_card_that_disagree_are_refused(tmp_path: Path) -> None:
    bundle = scoped(tmp_path / "1")
    assert bundle.card.scope is not None
    fewer = bundle.card.scope.flagged.model_copy(update={"n": 98})
    other = bundle.card.scope.model_copy(update={"flagged": fewer})
    for card, graph in (
        (bundle.card.model_copy(update={"scope": None}), bundle.onnx),
        (bundle.card, build_onnx()),
        (bundle.card.model_copy(update={"scope": other}), bundle.onnx),
    ):
        with pytest.raises(GraphError):
            write_bundle(tmp_path, card=card, onnx=graph)


def test_triton_serves_the_outputs(tmp_path: Path) -> None:
    version = write_triton(scoped(tmp_path / "1"), tmp_path / "triton")
    config = (version.parent / "config.pbtxt").read_text()
    assert config.count('name: "scope_') == 2


def test_few_images_make_no_check() -> None:
    rows = np.zeros((30, 3), np.float32)
    assert fit_scope(ScopeFeatures(rows, rows[:18], "none"), split="val") is None
