"""The calibrator of a subgroup, through every door that knows tags."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.calibrators.temperature import softmax
from hosting.settings import Settings
from model_store.bundle.bundle import Bundle
from model_store.bundle.calibration_card import ConformalCard, Referral
from model_store.image import decode
from model_store.store.store import Store
from monitoring.ledger import Ledger
from serving.inference.explanation import importance
from serving.inference.predictor import Predictor
from serving.scoring.folder import AnyFolder, ScoringError
from serving.scoring.job import ScoringJob, in_this_process, score
from tests.builders.bundles import png, published, subgroup, with_subgroups
from tests.builders.services import Running, running
from tests.builders.tensors import bytes_tensor

pytestmark = pytest.mark.anyio
BIAS = (-3.0, 1.5, 1.5)
PROMISED = {
    "referral": Referral(threshold=0.99, promised_accuracy=0.9, delta=0.05, coverage=0.1),
    "conformal": ConformalCard(alpha=0.1, threshold=0.3, mean_set_size=1.5, coverage_reference=0.9),
}
OF_B = subgroup(("B", "E"), temperature=2.0, class_bias=BIAS, **PROMISED)
OF_X = subgroup(("X",), key="device", temperature=3.0)  # it promises nothing
SETS = ConformalCard(alpha=0.1, threshold=0.05, mean_set_size=2.0, coverage_reference=0.9)


def build(folder: Path, version: int = 1) -> Bundle:
    return with_subgroups(folder, OF_B, OF_X, version=version, conformal=SETS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return published(tmp_path / "store", build)


def graph(store: Store, image: bytes) -> np.ndarray:
    predictor = Predictor(store.read("tiny"), threads=1)
    return predictor.predict(decode(image, predictor.card.input.spec)[np.newaxis])[0]


def expected(store: Store, image: bytes, tags: str) -> np.ndarray:
    logits = np.log(graph(store, image).astype(float))
    if "site=B" in tags or "site=E" in tags:
        logits = logits / 2 + BIAS
    return softmax(logits / 3 if "device=X" in tags else logits)


@pytest.mark.parametrize("tags", ["site=B", "site=E", "device=X", "device=X,site=B"])
async def test_the_answer_the_ledger_and_the_thresholds_use_the_subgroups_calibrator(
    server: Running, store: Store, tags: str
) -> None:
    changed = 0
    for seed in range(6):
        answer = (await server.predict(png(seed), x_candor_tags=tags)).json()
        values = expected(store, png(seed), tags)
        classes = store.read("tiny").card.classes
        assert [*answer["probabilities"].values()] == pytest.approx(values, abs=1e-6)
        assert answer["predicted"] == classes[values.argmax()]
        assert answer["confidence"] == pytest.approx(values.max(), abs=1e-6)
        named = sorted(tags.split(","), reverse=True)  # in the order of the card
        assert answer["calibrator"] == ",".join(named)
        last_promises = "device" not in tags
        assert answer["refer"] is (bool(values.max() < 0.99) if last_promises else True)
        lowest = 0.3 if last_promises else 0.0
        members = [name for name, p in zip(classes, values, strict=True) if p >= lowest]
        assert answer["prediction_set"] == members
        changed += values.argmax() != graph(store, png(seed)).argmax()
        with Ledger(f"sqlite:///{server.folder / 'ledger.db'}").read() as connection:
            row = connection.exec_driver_sql(
                "SELECT * FROM prediction WHERE prediction_id = ?",
                (bytes.fromhex(answer["prediction_id"].replace("-", "")),),
            ).one()
        assert np.frombuffer(row.probabilities, "<f4") == pytest.approx(values, abs=1e-6)
        assert (row.predicted, row.confidence) == (
            values.argmax(),
            pytest.approx(values.max(), abs=1e-6),
        )
    assert changed or tags == "device=X"


@pytest.mark.parametrize("tags", ["", "site=A", "device=Y", "ward=B"])
async def test_other_answers_are_those_of_the_graph_bit_by_bit(
    server: Running, store: Store, tags: str
) -> None:
    answer = (await server.predict(png(1), x_candor_tags=tags)).json()
    assert "calibrator" not in answer
    assert np.array_equal(np.float32([*answer["probabilities"].values()]), graph(store, png(1)))
    assert answer["refer"] is (answer["confidence"] < 0.6)


async def test_images_of_one_batch_have_their_own_calibrators(
    server: Running, store: Store
) -> None:
    tags = ("site=B", "site=A", "device=X")
    items: list[dict[str, Any]] = [
        {"image": base64.b64encode(png(seed)).decode(), "tags": dict([each.split("=")])}
        for seed, each in enumerate(tags)
    ]
    answers = (await server.client.post("/predictions/tiny", json=items)).json()
    assert [each.get("calibrator") for each in answers] == ["site=B", None, "device=X"]
    for seed, (answer, each) in enumerate(zip(answers, tags, strict=True)):
        assert [*answer["probabilities"].values()] == pytest.approx(
            expected(store, png(seed), each), abs=1e-6
        )


async def test_a_repeated_request_gets_the_same_answer(server: Running) -> None:
    once, again = [
        await server.predict(png(1), x_candor_tags="site=B", idempotency_key="k") for _ in range(2)
    ]
    assert once.json() == again.json()
    async with running(server.service.watcher._store, server.folder) as restarted:
        later = await restarted.predict(png(1), x_candor_tags="site=B", idempotency_key="k")
    assert later.json() == once.json()


async def test_the_open_inference_protocol_says_which_calibrator(
    server: Running, store: Store
) -> None:
    asked = {"inputs": [bytes_tensor(png(1))]}
    assert "calibrator" in [
        each["name"] for each in (await server.client.get("/v2/models/tiny")).json()["outputs"]
    ]
    for tags in ("site=B", "site=A"):
        answer = await server.client.post(
            "/v2/models/tiny/infer", json=asked, headers={"X-Candor-Tags": tags}
        )
        given = {each["name"]: each["data"] for each in answer.json()["outputs"]}
        assert given["calibrator"] == ["site=B" if tags == "site=B" else ""]
        assert given["probabilities"] == pytest.approx(expected(store, png(1), tags), abs=1e-6)


async def test_a_heat_map_explains_the_answer_that_was_given(server: Running, store: Store) -> None:
    answer = await server.predict(
        png(1), "/predictions/tiny?explain=occlusion", x_candor_tags="site=B"
    )
    predictor = Predictor(store.read("tiny"), threads=1)
    image = decode(png(1), predictor.card.input.spec)
    predicted = predictor.card.classes.index(answer.json()["predicted"])
    of_b, of_all = [
        importance(predictor, image, predicted, tags=tags) for tags in ('{"site": "B"}', None)
    ]
    given = np.array(answer.json()["explanation"]["values"])
    assert np.corrcoef(given.ravel(), of_b.ravel())[0, 1] > 0.999
    assert not np.allclose(of_b, of_all)


@pytest.mark.parametrize("tags", ['{"site": "B"}', None])
def test_a_scored_folder_and_a_predictor_take_tags(
    store: Store, tmp_path: Path, tags: str | None
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder, out = tmp_path / "images", AnyFolder(str(tmp_path / "out"))
    folder.mkdir()
    (folder / "1.png").write_bytes(png(1))
    bundle, place = store.read("tiny"), AnyFolder(str(folder))
    job = ScoringJob(place, out, bundle, Settings(threads=1), tags=tags)
    score(job, engine=in_this_process, progress=lambda *_: None)
    (row,) = parquet.read_table(tmp_path / "out").to_pylist()
    alone = Predictor(bundle, threads=1).classify(png(1), tags=tags)
    assert row["calibrator"] == alone.calibrator == ("site=B" if tags else None)
    assert row["confidence"] == pytest.approx(alone.confidence, abs=1e-6)
    assert row["refer"] is alone.refer
    other = None if tags else json.dumps({"site": "B"})
    with pytest.raises(ScoringError):
        score(replace(job, tags=other), engine=in_this_process, progress=lambda *_: None)
