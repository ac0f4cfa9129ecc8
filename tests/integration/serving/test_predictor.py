"""The predictor on a real bundle, and which hardware it chooses."""

import dataclasses
import logging
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

from hosting.errors import ListenError, ModelUnusable
from hosting.listener import listen
from model_store.bundle.bundle import Bundle
from serving.inference.predictor import Predictor, choose_providers, open_predictor
from serving.inference.run_watch import session_options
from tests.builders.bundles import build_bundle

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return build_bundle(tmp_path / "bundle")


def test_slow_first_runs_do_not_make_a_model_heavy(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(bundle)
    runs = iter([0.1, 0.02, *[0.0004] * 12])
    monkeypatch.setattr(predictor, "_time_one", lambda: next(runs, 0.0001))
    assert predictor.one_image_s == 0.0001


def test_only_a_light_model_gets_one_thread(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    plain = session_options

    def noted(threads: int, **options: bool) -> ort.SessionOptions:
        asked.append(threads)
        return plain(threads, **options)

    monkeypatch.setattr("serving.inference.predictor.session_options", noted)
    monkeypatch.setattr("serving.inference.predictor.LIGHT_S", 5.0)
    assert open_predictor(bundle).is_light
    assert asked == [0, 1]
    monkeypatch.setattr("serving.inference.predictor.LIGHT_S", 0.0)
    assert not open_predictor(bundle).is_light
    assert asked == [0, 1, 0]
    monkeypatch.setattr("serving.inference.predictor.LIGHT_S", 5.0)
    open_predictor(bundle, threads=2)
    assert asked == [0, 1, 0, 2]


def test_a_small_model_infers_a_batch_in_parts_that_fit_the_cache(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.inference.predictor.SMALL_S", 5.0)
    predictor = Predictor(bundle)
    shape = predictor.card.input
    size = (7, shape.channels, shape.height, shape.width)
    images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    whole = predictor.predict(images)
    assert predictor.one_image_s < 5.0
    monkeypatch.setattr("serving.inference.predictor.PART_BYTES", 3 * images[0].nbytes)
    run, sizes = predictor._session.run, []

    def noted(names: list[str], inputs: dict[str, np.ndarray], *rest: object) -> object:
        sizes.append(len(inputs["image"]))
        return run(names, inputs, *rest)

    monkeypatch.setattr(predictor, "_session", SimpleNamespace(run=noted))
    np.testing.assert_allclose(predictor.predict(images), whole, rtol=1e-6)
    assert sizes == [3, 3, 1]
    monkeypatch.setattr("serving.inference.predictor.SMALL_S", 0.0)
    predictor.predict(images)
    assert sizes == [3, 3, 1, 7]


def test_an_accelerator_is_warmed_up_with_the_largest_batch(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for a GPU: only which batches are run is looked at."""
    predictor = Predictor(bundle)
    run: list[int] = []
    monkeypatch.setattr(predictor, "predict", lambda images: run.append(len(images)))
    predictor.warm_up(16)
    assert set(run) == {1}
    predictor.providers = (CUDA, CPU)
    predictor.warm_up(16)
    assert max(run) == 16


def test_a_graph_that_the_runtime_refuses_is_unusable(bundle: Bundle) -> None:
    with pytest.raises(ModelUnusable, match="cannot load tiny version 1"):
        Predictor(dataclasses.replace(bundle, onnx=bundle.onnx[:-40]))


def test_a_batch_of_the_wrong_shape_is_unusable(bundle: Bundle) -> None:
    with pytest.raises(ModelUnusable, match="failed on a batch of 2"):
        Predictor(bundle).predict(np.zeros((2, 1, 8, 8), np.uint8))


@pytest.mark.parametrize(
    ("device", "offered", "chosen"),
    [
        ("auto", [CPU], [CPU]),
        ("auto", [TENSORRT, CUDA, CPU], [CUDA, CPU]),
        ("cpu", [TENSORRT, CUDA, CPU], [CPU]),
        ("cuda", [CPU], [CPU]),
        ("tensorrt", [TENSORRT, CUDA, CPU], [TENSORRT, CUDA, CPU]),
        ("tensorrt", [CUDA, CPU], [CUDA, CPU]),
    ],
)
def test_the_best_provider_that_is_offered_is_tried_first(
    monkeypatch: pytest.MonkeyPatch, device: str, offered: list[str], chosen: list[str]
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: offered)
    assert choose_providers(device) == chosen


def test_a_fallback_is_told(
    bundle: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    with caplog.at_level(logging.WARNING):
        predictor = Predictor(bundle, device="cuda")
    assert predictor.providers == (CPU,)
    assert "device cuda was requested" in caplog.text


def test_a_taken_port_is_said_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ListenError, match=rf"cannot listen on 127\.0\.0\.1:{port}: [^(]* CANDOR_PORT"
        ):
            listen("127.0.0.1", port)
