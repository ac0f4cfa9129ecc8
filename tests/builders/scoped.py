"""A tiny bundle with a scope check, and a store with it."""

from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from model_store.bundle.bundle import Bundle, read_bundle, write_bundle
from model_store.bundle.scope import (
    SCOPE_FEATURES,
    ScopeFeatures,
    fit_scope,
    statistics,
    with_scope,
)
from model_store.store.store import Store
from tests.builders.bundles import build_card, build_onnx


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


def build_scoped(folder: Path, version: int = 1, *, n: int = 999) -> Bundle:
    """A bundle whose images in scope have one color each, near the gray of 128."""
    colors = np.random.default_rng(0).normal(128, 20, (200 + n, 3, 1, 1))
    colors = colors.clip(0, 255).astype(np.uint8)
    images = np.broadcast_to(colors, (200 + n, 3, 8, 8))
    means = colors[:, :, 0, 0].astype(np.float32) / 255
    features = np.concatenate([means, statistics(np.ascontiguousarray(images))], axis=1)
    check = fit_scope(ScopeFeatures(features[:200], features[200:], maps=3), split="val")
    assert check is not None
    folder.mkdir(parents=True, exist_ok=True)
    graph = with_scope(with_features(build_onnx()), check.parameters)
    card = build_card(version=version).model_copy(update={"scope": check.card})
    write_bundle(folder, card=card, onnx=graph)
    return read_bundle(folder)


def publish_scoped(root: Path, *, n: int = 999) -> Store:
    """A store with version 1 of "tiny" in production."""
    store = Store(root)
    store.publish("tiny", partial(build_scoped, n=n))
    store.promote("tiny", 1)
    return store
