"""Several answers for one image, through every door that answers exclusive classes."""

import base64
import csv
import functools
import json
import re
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema_rs
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from hosting.settings import Settings
from model_store.image import decode
from model_store.store.canary import start_canary
from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from monitoring.ledger.predictions import finding_id
from monitoring.ledger.schema import IS_LABELED, prediction, watched_versions
from monitoring.ledger.version_events import shadow_id
from serving.http.bodies import FindingsPrediction
from serving.inference.explanation import importance
from serving.inference.predictor import Predictor
from serving.scoring.folder import AnyFolder
from serving.scoring.job import ScoringJob, in_this_process, score
from tests.builders.bundles import png, subgroup
from tests.builders.dicoms import dicom_stack
from tests.builders.findings import FINDINGS, findings_bundle, publish_findings
from tests.builders.processes import candor_here
from tests.builders.services import ADMIN, Running, refusal, running, until

pytestmark = [pytest.mark.anyio, pytest.mark.world(ledger="off")]
THRESHOLDS = (0.2, 0.5, 0.7)
OF_B = subgroup(("B",), temperature=2.0, class_bias=(0.0, 1.0))
PATH = "/predictions/chest"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return publish_findings(
        tmp_path / "store", thresholds=THRESHOLDS, sets=True, subgroups={"Effusion": OF_B}
    )


def graph(store: Store, image: bytes) -> np.ndarray:
    predictor = Predictor(store.read("chest"), threads=1)
    return predictor.predict(decode(image, predictor.card.input.spec)[np.newaxis])[0]


def probabilities(answer: dict[str, Any]) -> np.ndarray:
    return np.float32([each["probability"] for each in answer["findings"].values()])


def of_b(p: np.ndarray) -> np.ndarray:
    """The graph's probabilities after the calibrator of site B."""
    p = p.astype(float)
    p[1] = 1 / (1 + np.exp(-(np.log(p[1] / (1 - p[1])) / 2 + 1)))
    return p


async def test_an_answer_has_each_findings_probability_threshold_and_presence(
    server: Running, store: Store
) -> None:
    said = set()
    for seed in range(12):
        answer = (await server.predict(png(seed), PATH, x_request_id=f"id-{seed}")).json()
        assert list(answer) == ["prediction_id", "request_id", "model", "version", "findings"]
        assert (answer["request_id"], answer["model"]) == (f"id-{seed}", "chest")
        assert tuple(answer["findings"]) == FINDINGS
        assert np.array_equal(probabilities(answer), graph(store, png(seed)))
        for each, threshold in zip(answer["findings"].values(), THRESHOLDS, strict=True):
            assert each["threshold"] == threshold
            assert each["present"] is (each["probability"] >= threshold)
            assert "calibrator" not in each
            said.add((each["present"], each["refer"], tuple(each["prediction_set"])))
    both = ("absent", "present")
    assert said <= {
        (False, False, ("absent",)),
        (True, False, ("present",)),
        (False, True, both),
        (True, True, both),
    }
    assert len(said) >= 3


async def test_a_card_without_sets_gives_neither_sets_nor_referral(tmp_path: Path) -> None:
    store = publish_findings(tmp_path / "plain")
    async with running(store, tmp_path, ledger="off") as server:
        answer = (await server.predict(png(1), PATH)).json()
        assert {*answer["findings"]["Mass"]} == {"probability", "threshold", "present"}


async def test_lists_forms_frames_and_ndjson_answer_alike(server: Running, store: Store) -> None:
    entries = [base64.b64encode(png(seed)).decode() for seed in range(3)]
    answers = (await server.client.post(PATH, json=[*entries, "none"])).json()
    form = [("file", (f"{seed}.png", png(seed))) for seed in range(3)]
    files = (await server.client.post(PATH, files=form)).json()
    for seed in range(3):
        assert np.array_equal(probabilities(answers[seed]), graph(store, png(seed)))
        assert files[seed]["findings"] == answers[seed]["findings"]
        assert files[seed]["file"] == f"{seed}.png"
    assert answers[3]["error"] == "not_an_image"
    stack = dicom_stack(np.random.default_rng(4).integers(0, 4096, (4, 30, 20)).astype(np.uint16))
    frames = (await server.predict(stack, f"{PATH}?frame=all")).json()
    one = (await server.predict(stack, f"{PATH}?frame=3")).json()
    assert [each["frame"] for each in frames] == [1, 2, 3, 4]
    assert one["findings"] == frames[2]["findings"]


async def test_a_findings_own_calibrator_for_a_tag_applies_to_it_alone(
    server: Running, store: Store
) -> None:
    for seed in range(4):
        p = graph(store, png(seed))
        answer = (await server.predict(png(seed), PATH, x_candor_tags="site=B")).json()
        assert probabilities(answer) == pytest.approx(of_b(p), abs=1e-6)
        assert np.array_equal(probabilities(answer)[[0, 2]], p[[0, 2]])  # bit by bit
        named = [each.get("calibrator") for each in answer["findings"].values()]
        assert named == [None, "site=B", None]
        of_tag = answer["findings"]["Effusion"]  # its sets are not promised there, so hold both
        assert (of_tag["prediction_set"], of_tag["refer"]) == (["absent", "present"], True)
        other = (await server.predict(png(seed), PATH, x_candor_tags="site=C")).json()
        assert np.array_equal(probabilities(other), p)


async def test_a_heat_map_explains_the_finding_that_is_named(server: Running, store: Store) -> None:
    predictor = Predictor(store.read("chest"), threads=1)
    image = decode(png(1), predictor.card.input.spec)
    for column, name in enumerate(FINDINGS):
        answer = (await server.predict(png(1), f"{PATH}?explain={name}")).json()
        shown = answer["explanation"]
        assert (shown["of"], name in shown["sentence"]) == (name, True)
        assert np.array(shown["values"]) == pytest.approx(
            importance(predictor, image, column), abs=1e-4
        )
    for query in ("explain=occlusion", "explain=Gout", "explain"):
        refused = await server.predict(png(1), f"{PATH}?{query}")
        assert refusal(refused) == (400, "malformed_request")
    assert "Effusion" in refused.json()["detail"]


async def test_the_answers_are_as_the_description_says(server: Running) -> None:
    described = (await server.client.get("/openapi.json")).json()
    content = described["paths"]["/predictions/{model}"]["post"]["responses"]["200"]["content"]
    schema = content["application/json"]["schema"] | {"components": described["components"]}
    check = jsonschema_rs.validator_for(schema).validate
    for query, tags in (("", "site=B"), ("?explain=Mass", "site=A")):
        answer = await server.predict(png(1), PATH + query, x_candor_tags=tags)
        check(answer.json())
        check([answer.json()])
        read = msgspec.json.decode(answer.content, type=FindingsPrediction)
        assert msgspec.json.decode(msgspec.json.encode(read)) == answer.json()


async def test_what_is_loaded_is_listed_with_its_kind(server: Running) -> None:
    (model,) = (await server.client.get("/models")).json()["models"]
    (version,) = model["versions"]
    assert (version["kind"], tuple(version["classes"])) == ("findings", FINDINGS)
    assert version["temperature"] is None
    assert [each["threshold"] for each in version["findings"].values()] == [*THRESHOLDS]


async def test_the_open_inference_protocol_gives_a_column_for_each_finding(
    server: Running, store: Store
) -> None:
    model = (await server.client.get("/v2/models/chest")).json()
    shapes = {each["name"]: (each["datatype"], each["shape"]) for each in model["outputs"]}
    assert shapes == {
        "probabilities": ("FP32", [-1, 3]),
        "prediction_id": ("BYTES", [-1]),
        "present": ("BYTES", [-1, 3]),
        "calibrator": ("BYTES", [-1, 3]),
    }
    assert model["properties"]["kind"] == "findings"
    assert json.loads(model["properties"]["classes"]) == [*FINDINGS]
    assert json.loads(model["properties"]["thresholds"]) == [*THRESHOLDS]
    data = [base64.b64encode(png(seed)).decode() for seed in range(3)]
    asked = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [3], "data": data}]}
    answer = await server.client.post(
        "/v2/models/chest/infer", json=asked, headers={"X-Candor-Tags": "site=B"}
    )
    given = {
        each["name"]: np.reshape(each["data"], each["shape"]) for each in answer.json()["outputs"]
    }
    p = np.array([of_b(graph(store, png(seed))) for seed in range(3)])
    assert given["probabilities"] == pytest.approx(p, abs=1e-6)
    present = [
        [name if on else "" for name, on in zip(FINDINGS, row, strict=True)]
        for row in p >= THRESHOLDS
    ]
    assert given["present"].tolist() == present
    assert given["calibrator"].tolist() == [["", "site=B", ""]] * 3
    unknown = asked | {"outputs": [{"name": "confidence"}]}
    assert (await server.client.post("/v2/models/chest/infer", json=unknown)).status_code == 400


async def test_the_page_to_try_images_shows_a_table_of_findings(server: Running) -> None:
    page = await server.page("/try/chest")
    assert all(f'<option value="{name}">' in page for name in FINDINGS)
    answer = await server.client.post(
        "/try/chest", files=[("file", ("a.png", png(1)))], data={"explain": "Mass", "record": "yes"}
    )
    assert answer.status_code == 200
    assert all(f'<th scope="row">{name}</th>' in answer.text for name in FINDINGS)
    assert "probability of Mass" in answer.text


async def test_every_tab_of_a_model_opens(store: Store, tmp_path: Path) -> None:
    async with running(store, tmp_path) as server:
        tabs = re.search(r'<nav class="tabs.*?</nav>', await server.page("/try/chest"), re.DOTALL)
        assert tabs
        addresses = re.findall(r'href="([^"]+)"', tabs[0])
        assert len(addresses) >= 6
        for address in addresses:
            page = await server.client.get(unescape(address), headers=ADMIN, follow_redirects=True)
            assert page.status_code == 200, address
        tried = await server.client.post("/try/chest", files=[("file", ("a.png", png(1)))])
        assert tried.text.count("too few to say how often it is present") == len(FINDINGS)


async def test_the_ledger_has_a_row_for_each_finding_of_an_image(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path, audit_share=0.5) as server:
        asked = {"x_candor_tags": "site=B", "x_request_id": "scan"}
        answers = [(await server.predict(png(seed), PATH, **asked)).json() for seed in range(12)]
        labels = [
            {"prediction_id": each["prediction_id"], "labels": {"Edema": 1, "Mass": 0}}
            for each in answers
        ]
        given = (await server.client.post("/feedback", json=labels)).json()
    assert {each["status"] for each in given} == {"accepted"}
    assert len({each["audit"] for each in answers}) == 2
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").read() as connection:
        versions = connection.execute(select(watched_versions)).all()
        rows = connection.execute(select(prediction)).all()
        known = set(connection.scalars(select(prediction.c.prediction_id).where(IS_LABELED)))
    assert [each.finding for each in versions] == [*FINDINGS]
    by_id = {row.prediction_id: row for row in rows}
    assert len(by_id) == 12 * len(FINDINGS)
    for answer in answers:
        for version in versions:
            key = finding_id(UUID(answer["prediction_id"]).bytes, version.finding)
            row, probability = by_id[key], answer["findings"][version.finding]["probability"]
            assert row.watched_version_id == version.watched_version_id
            assert (row.predicted, row.tags) == (1, '{"site": "B"}')
            assert row.confidence == pytest.approx(probability, abs=1e-8)
            assert (row.audit is not None) is answer["audit"]
            assert (key in known) is (version.finding != "Effusion")


async def test_a_repeated_request_gets_the_recorded_answer(store: Store, tmp_path: Path) -> None:
    asked = {"x_candor_tags": "site=B", "idempotency_key": "k"}
    async with running(store, tmp_path) as server:
        once, again = [await server.predict(png(1), PATH, **asked) for _ in range(2)]
        assert once.json() == again.json()
    async with running(store, tmp_path) as server:
        assert (await server.predict(png(1), PATH, **asked)).json() == once.json()
        other = (await server.predict(png(2), PATH, **asked)).json()
        assert other["prediction_id"] != once.json()["prediction_id"]
    assert len(answers_in(tmp_path)) == 2 * len(FINDINGS)


def answers_in(folder: Path) -> set[bytes]:
    with Ledger(f"sqlite:///{folder / 'ledger.db'}").read() as connection:
        return set(connection.scalars(select(prediction.c.prediction_id)))


async def test_a_shadow_computes_every_finding_and_gets_the_labels(
    store: Store, tmp_path: Path
) -> None:
    store.publish("chest", functools.partial(findings_bundle, seed=1))
    start_canary(store, "chest", 2, mode="shadow")
    async with running(store, tmp_path) as server:
        answer = (await server.predict(png(1), PATH)).json()
        assert answer["version"] == 1
        await until(lambda: len(answers_in(tmp_path)) == 2 * len(FINDINGS))
        label = {"prediction_id": answer["prediction_id"], "labels": {"Mass": 1}}
        assert (await server.client.post("/feedback", json=label)).status_code == 200
    image_id = UUID(answer["prediction_id"]).bytes
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").read() as connection:
        labeled = set(connection.scalars(select(prediction.c.prediction_id).where(IS_LABELED)))
    images = (image_id, shadow_id(image_id))
    assert answers_in(tmp_path) == {finding_id(each, name) for each in images for name in FINDINGS}
    assert labeled == {finding_id(each, "Mass") for each in images}


def test_a_folder_is_scored_into_columns_of_each_finding(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.png").write_bytes(png(seed))
    (folder / "bad.png").write_bytes(b"none")
    where = AnyFolder(str(folder)), AnyFolder(str(tmp_path / "out"))
    settings = Settings(ledger="off", threads=1)
    job = ScoringJob(*where, store.read("chest"), settings, tags='{"site":"B"}')
    score(job, engine=in_this_process, progress=lambda *_: None)
    rows = pq.read_table(tmp_path / "out").to_pylist()
    for seed, row in enumerate(rows[:3]):
        p = of_b(graph(store, png(seed)))
        for k, name in enumerate(FINDINGS):
            assert row[f"probability {name}"] == pytest.approx(p[k], abs=1e-6)
            assert row[f"present {name}"] is bool(p[k] >= THRESHOLDS[k])
            assert row[f"refer {name}"] is (len(row[f"prediction_set {name}"]) != 1)
        assert row["calibrator"] == "Effusion: site=B"
    assert rows[3]["error"]
    assert rows[3]["present Mass"] is None


def test_the_command_line_prints_and_writes_findings(store: Store, tmp_path: Path) -> None:
    file, table = tmp_path / "x.png", tmp_path / "answers.csv"
    file.write_bytes(png(1))
    ask = partial(candor_here, "predict", file, "--store", store.root)
    shown = ask()
    assert shown.exit_code == 0
    assert "of 3 findings present" in shown.stdout
    answer = json.loads(ask("--json").stdout)[0]
    p = graph(store, png(1))
    assert [each["probability"] for each in answer["findings"].values()] == pytest.approx(p)
    assert ask("--csv", table).exit_code == 0
    (row,) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    for k, name in enumerate(FINDINGS):
        assert float(row[f"probability {name}"]) == pytest.approx(p[k], abs=1e-6)
        assert row[f"present {name}"] == json.dumps(bool(p[k] >= THRESHOLDS[k]))
    assert "predicted" not in row
