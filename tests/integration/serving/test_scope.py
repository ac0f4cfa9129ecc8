"""Whether an image is in scope, through every door."""

import base64
import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from sqlalchemy import select

from model_store.bundle.card import NO_PROMISE
from model_store.store.store import Store
from model_store.torchserve.handler import CandorHandler
from monitoring.ledger import Ledger
from monitoring.ledger.days import doubtful_days, doubtful_tags
from monitoring.ledger.schema import prediction
from monitoring.ledger.sum_tables import DOUBTFUL
from monitoring.ledger.sums import read_slices, read_sums
from monitoring.ledger.versions import choose
from serving.inference.predictor import Predictor
from tests.builders.bundles import CLASSES, encode
from tests.builders.processes import candor_here
from tests.builders.scoped import publish_scoped
from tests.builders.services import PAGE, Running, refusal, running

pytestmark = pytest.mark.anyio
PATH = "/predictions/tiny"


def gray(level: int, size: int = 8) -> bytes:
    return encode(Image.new("RGB", (size, size), (level, level, level)), "PNG")


USUAL, FAR = gray(128), gray(250)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return publish_scoped(tmp_path / "store")


async def test_each_answer_says_it_also_of_a_list(server: Running) -> None:
    usual, far = [(await server.predict(each, PATH)).json() for each in (USUAL, FAR)]
    assert usual["scope"] == "in"
    assert usual["scope_p"] > 0.5
    assert far["scope"] == "out"
    assert far["scope_p"] == pytest.approx(1 / 1000)
    entries = [base64.b64encode(each).decode() for each in (FAR, USUAL)]
    said = (await server.client.post(PATH, json=entries)).json()
    assert [each["scope_p"] for each in said] == [far["scope_p"], usual["scope_p"]]


def tried(page: str) -> list[str]:
    """The verdicts that the page of a trial shows."""
    return re.findall(r'data-scope="(\w+)"', page)


async def test_a_trial_shows_it_by_the_users_alpha(store: Store, tmp_path: Path) -> None:
    files = [("file", (f"{level}.png", gray(level))) for level in (128, 250)]
    async with running(store, tmp_path, scope_alpha=0.9) as server:
        said = [(await server.predict(gray(level), PATH)).json() for level in (128, 250)]
        page = (await server.client.post("/try/tiny", files=files, headers=PAGE)).text
    assert tried(page) == [each["scope"] for each in said]
    assert page.count(NO_PROMISE) == 2
    for one, answer in zip(page.split('class="card trial')[1:], said, strict=True):
        doubt, record = one.index("as unusual as"), one.index("such answers")
        assert (doubt < record) == (answer["scope"] != "in")  # doubted before it is reassured
    assert "by these 999 calibration images" in page


@pytest.mark.parametrize("choice", ["refuse", "withhold"])
async def test_a_trial_shows_no_confidence_that_answers_withhold(
    store: Store, tmp_path: Path, choice: str
) -> None:
    async with running(store, tmp_path, scope_out=choice) as server:
        files = {"file": ("far.png", FAR)}
        page = (await server.client.post("/try/tiny", files=files, headers=PAGE)).text
    assert "far.png: no answer" in page
    assert tried(page) == []


async def test_a_retry_says_the_same(server: Running) -> None:
    headers = {"idempotency-key": "k", "x-request-id": "r"}
    first = (await server.client.post(PATH, content=FAR, headers=headers)).json()
    again = (await server.client.post(PATH, content=FAR, headers=headers)).json()
    assert again == first


async def infer(server: Running, *images: bytes) -> Any:
    """The answer of the Open Inference Protocol."""
    data = [base64.b64encode(each).decode() for each in images]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data}
    return await server.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]})


@pytest.mark.parametrize("choice", ["answer", "withhold", "refuse"])
async def test_the_inference_protocol_has_outputs(
    store: Store, tmp_path: Path, choice: str
) -> None:
    """Of several images each says it, and the others keep their answers."""
    async with running(store, tmp_path, scope_out=choice) as server:
        alone, response = await infer(server, FAR), await infer(server, USUAL, FAR)
    assert alone.status_code == (422 if choice == "refuse" else 200)
    assert response.status_code == 200, response.text
    outputs = {each["name"]: each["data"] for each in response.json()["outputs"]}
    assert outputs["scope"] == ["in", "out"]
    assert outputs["scope_p"][1] == pytest.approx(1 / 1000)
    assert outputs["confidence"][0] > 0
    assert (outputs["predicted"][1] in CLASSES) == (choice == "answer")


@pytest.mark.parametrize("choice", ["refuse", "withhold"])
async def test_what_is_out_is_refused_or_has_no_confidence(
    store: Store, tmp_path: Path, choice: str
) -> None:
    async with running(store, tmp_path, scope_out=choice) as server:
        response = await server.predict(FAR, PATH)
        entries = [base64.b64encode(each).decode() for each in (FAR, USUAL)]
        far, usual = (await server.client.post(PATH, json=entries)).json()
        assert usual["confidence"] > 0
        if choice == "refuse":
            assert refusal(response) == (422, "out_of_scope")
            assert response.json()["scope_p"] == pytest.approx(1 / 1000)
            assert far["error"] == "out_of_scope"
        else:
            explained = await server.predict(FAR, f"{PATH}?explain=occlusion")
            for each in (response, explained):
                assert each.json()["confidence"] is None
            assert far["probabilities"] is None
            assert (far["scope"], far["refer"]) == ("out", True)


async def test_alpha_is_the_users(
    store: Store,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At one so small, no image is doubtful by 999 calibration images. Log and doctor say so."""
    async with running(store, tmp_path, scope_alpha=0.0005, scope_out="refuse") as server:
        assert (await server.predict(FAR, PATH)).json()["scope"] == "in"
    assert "no image can be doubtful" in caplog.text
    monkeypatch.setenv("CANDOR_SCOPE_ALPHA", "0.0005")
    monkeypatch.setenv("CANDOR_STORE", str(store.root))
    assert "no image is doubtful at 0.0005" in candor_here("doctor").output


async def test_few_calibration_images_can_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 19, the least p-value is alpha, which float32 rounds up, and more than a tenth of it."""
    store = publish_scoped(tmp_path / "store", n=19)
    async with running(store, tmp_path, scope_out="refuse") as server:
        assert refusal(await server.predict(FAR, PATH)) == (422, "out_of_scope")
        assert (await server.predict(USUAL, PATH)).json()["scope"] == "in"
        assert ">out of scope<" in await server.page("/models/tiny/answers/page")
    assert "its least value is 0.05." in (store.folder("tiny", 1) / "model_card.md").read_text()
    monkeypatch.setenv("CANDOR_SCOPE_OUT", "refuse")
    assert torchserve(unpacked(store, tmp_path))[1] == [422]


async def test_the_ledger_counts_doubtful_answers(server: Running, tmp_path: Path) -> None:
    for level, site in ((128, "A"), (250, "B"), (251, "B"), (130, "B")):
        sent = {"x-candor-tags": f"site={site}"}
        answer = await server.client.post(PATH, content=gray(level), headers=sent)
        assert answer.status_code == 200
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.read() as connection:
        row = choose(connection, "tiny")
        p_values = connection.scalars(select(prediction.c.scope_p)).all()
        assert sum(p <= 0.05 for p in p_values) == 2
        (day,) = doubtful_days(connection, row, before_day=10**6)
        assert (day.answers, day.doubtful) == (4, 2)
        tags = {each.tag: (each.answers, each.doubtful) for each in doubtful_tags(connection, row)}
        assert tags == {"site=A": (1, 0), "site=B": (3, 2)}
        key = row.watched_version_id
        assert read_sums(connection, key, slice=DOUBTFUL).served.sum() == 2
        assert not any(name.startswith(DOUBTFUL) for name in read_slices(connection, key))


async def test_a_report_shows_them_by_day_and_tag_and_apart(
    server: Running, tmp_path: Path
) -> None:
    labels = []
    for level, site in ((128, "A"), (250, "B"), (250, "B"), (130, "B")):
        sent = {"x-candor-tags": f"site={site}"}
        answer = (await server.client.post(PATH, content=gray(level), headers=sent)).json()
        labels.append({"prediction_id": answer["prediction_id"], "label": answer["predicted"]})
    labels[1]["label"] = next(each for each in CLASSES if each != labels[1]["label"])
    assert (await server.client.post("/feedback", json=labels)).status_code == 200
    report = (await server.client.get("/models/tiny/report")).json()["doubtful"]
    assert (report["answers"], report["doubtful"]) == (4, 2)
    worst = report["by_tag"][0]
    assert list(worst.values() if isinstance(worst, dict) else worst) == ["site=B", 3, 2]
    assert (report["flagged"]["n"], report["flagged"]["accuracy"]) == (2, 0.5)
    assert (report["others"]["n"], report["others"]["accuracy"]) == (2, 1.0)
    listed = await server.page("/models/tiny/answers/page")
    assert listed.count(">out of scope<") == 2  # nothing is said of images in scope
    assert NO_PROMISE in listed
    flagged = await server.page("/models/tiny/answers/page?doubtful=1")
    assert flagged.count(">out of scope<") == 2
    assert 0 < report["lower"] < 0.05 < report["upper"]
    page = await server.page("/slices/tiny")
    assert "data-doubtful" in page
    parts = re.findall(r"<tr data-part><td>([^<]+)<.*?>(\d+)</td>", page)
    assert parts == [("doubtful images", "2"), ("all others", "2")]
    assert page.count("<tr data-day>") == 1
    assert NO_PROMISE in page
    assert "site=B" in page
    sign = {
        each["name"]: each
        for each in (await server.client.get("/models/tiny/report")).json()["diagnosis"][
            "early_signs"
        ]
    }["doubtful_images"]
    assert sign["raised"] is False
    metrics = (await server.client.get("/metrics")).text
    found = re.search(r"^candor_doubtful_images_ratio\{.*\} (\S+)$", metrics, re.M)
    assert found
    assert float(found[1]) == 0.5


@pytest.mark.parametrize(
    ("alpha", "choice", "word", "exit_code"),
    [
        (0.05, "answer", "out", 0),
        (0.0005, "refuse", "in", 0),
        (0.05, "withhold", "out", 0),
        (0.05, "refuse", "out", 1),
    ],
)
def test_commands_without_a_server_take_the_users_choice(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alpha: float,
    choice: str,
    word: str,
    exit_code: int,
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "far.png").write_bytes(FAR)
    monkeypatch.setenv("CANDOR_SCOPE_ALPHA", str(alpha))
    monkeypatch.setenv("CANDOR_SCOPE_OUT", choice)
    monkeypatch.setenv("CANDOR_STORE", str(store.root))
    shown = choice == "answer" or word == "in"
    said = candor_here("predict", folder / "far.png", "--json")
    (answer,) = json.loads(said.stdout)
    assert (said.exit_code, answer["scope"]) == (exit_code, word)
    assert (answer.get("confidence") is not None) == shown
    asked = ["predict", str(folder), "--out", str(tmp_path / "scored"), "--model", "tiny"]
    done = candor_here(*asked)
    assert done.exit_code == exit_code, done.output
    (part,) = (tmp_path / "scored").glob("part-*.parquet")
    (row,) = pq.read_table(part).to_pylist()
    assert (row["scope"], bool(row["error"])) == (word, exit_code == 1)
    assert (row["confidence"] is not None) == shown


def test_the_object_and_torchserve_say_it(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = Predictor(store.read("tiny"), threads=1).classify(FAR)
    assert (found.scope, found.scope_p) == ("out", pytest.approx(1 / 1000))
    folder = unpacked(store, tmp_path)
    usual, far = torchserve(folder)[0]
    assert (usual["scope"], far["scope"]) == ("in", "out")
    assert far["scope_p"] == found.scope_p
    monkeypatch.setenv("CANDOR_SCOPE_OUT", "withhold")
    (usual, far), statuses = torchserve(folder)
    assert usual["confidence"] > 0
    assert (far["confidence"], far["refer"], far["scope"], statuses) == (None, True, "out", [])
    monkeypatch.setenv("CANDOR_SCOPE_OUT", "refuse")
    (usual, far), statuses = torchserve(folder)
    assert (far["error"], far["scope_p"], statuses) == ("out_of_scope", found.scope_p, [422])
    monkeypatch.setenv("CANDOR_SCOPE_ALPHA", "0.0005")
    assert torchserve(folder)[0][1]["scope"] == "in"
    assert "no image can be doubtful" in caplog.text
    for name, value in (("ALPHA", "1"), ("ALPHA", "x"), ("OUT", "hide")):
        with monkeypatch.context() as wrong:
            wrong.setenv(f"CANDOR_SCOPE_{name}", value)
            with pytest.raises(ValueError, match=r"CANDOR_SCOPE|float"):
                torchserve(folder)


def unpacked(store: Store, tmp_path: Path) -> Path:
    """The folder of the TorchServe archive of version 1."""
    with zipfile.ZipFile(store.folder("tiny", 1) / "tiny.mar") as packed:
        packed.extractall(tmp_path / "archive")
    return tmp_path / "archive"


def torchserve(folder: Path) -> tuple[list[Any], list[int]]:
    """The answers of a new handler for a usual and a far image, and the statuses that it sets."""
    handler, statuses = CandorHandler(), list[int]()
    context: Any = SimpleNamespace(
        system_properties={"model_dir": str(folder)},
        get_all_request_header=lambda _: {},
        set_response_content_type=lambda *_: None,
        set_response_status=lambda code, **_: statuses.append(code),
    )
    handler.initialize(context)
    return handler.handle([{"body": USUAL}, {"body": FAR}], context), statuses
