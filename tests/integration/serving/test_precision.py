"""A bundle with several precisions: which one answers is in answer, ledger and metrics."""

from pathlib import Path

import numpy as np
import pytest

from model_store.bundle.bundle import Bundle
from model_store.image import decode
from model_store.runtime import ort
from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import choose, of_model
from tests.builders.bundles import png, published, write_variants
from tests.builders.services import running

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return published(tmp_path / "models", write_variants)


def infer(onnx: bytes, image: bytes, bundle: Bundle) -> list[float]:
    pixels = decode(image, bundle.card.input.spec)[np.newaxis]
    found: list[float] = (
        ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        .run(None, {"image": pixels})[0][0]
        .tolist()
    )
    return found


@pytest.mark.parametrize("precision", ["float32", "int8"])
async def test_answer_ledger_and_metrics_say_which_precision_answered(
    store: Store, tmp_path: Path, precision: str
) -> None:
    bundle = store.read("tiny", 1)
    async with running(store, tmp_path, precision=precision) as server:
        answer = (await server.predict(png())).json()
        metrics = (await server.client.get("/metrics")).text
    onnx = bundle.onnx if precision == "float32" else bundle.variants["int8"]
    assert list(answer["probabilities"].values()) == pytest.approx(
        infer(onnx, png(), bundle), abs=1e-6
    )
    assert answer.get("precision", "float32") == precision
    threshold = 0.6 if precision == "float32" else 0.9
    assert answer["refer"] is (answer["confidence"] < threshold)
    assert f'candor_model_loaded{{model="tiny",precision="{precision}",version="1"}} 1.0' in metrics
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.read() as connection:
        row = choose(connection, "tiny")
    assert (
        row.card["calibration"]["temperature"]
        == bundle.card.of_variant(precision).calibration.temperature
    )
    assert (row.card.get("precision") or "float32") == precision


async def test_two_precisions_of_a_version_are_two_watched_versions(
    store: Store, tmp_path: Path
) -> None:
    for precision in ("float32", "int8"):
        async with running(store, tmp_path, precision=precision) as server:
            assert (await server.predict(png())).status_code == 200
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.read() as connection:
        assert {row.card.get("precision") for row in of_model(connection, "tiny")} == {None, "int8"}


async def test_an_explanation_is_of_the_precision_that_answered(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path, precision="int8", device="cpu") as server:
        answer = await server.client.post("/predictions/tiny?explain=occlusion", content=png())
    assert answer.status_code == 200
    assert answer.json()["explanation"]["values"]
