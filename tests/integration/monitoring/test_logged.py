"""Logged predictions: declared, logged once, watched like own ones; their patients are hashed."""

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
import uuid_utils
from sqlalchemy import Engine, event, text
from starlette.applications import Starlette

from calibration.calibrators.temperature import softmax
from candor.predictions.columns import ColumnWishes
from candor.predictions.errors import PredictionsRefused
from candor.predictions.upload_columns import UploadColumns, label_columns, prediction_columns
from console.error_pages import ERROR_HANDLERS
from console.model_views import model_page
from model_store.errors import TagsInvalid
from model_store.store.store import Store
from model_store.tags import is_key, read_tags
from monitoring.errors import LedgerError
from monitoring.feedback.body import FIELDS as LABEL_FIELDS
from monitoring.http.endpoint import routes_of
from monitoring.ledger import Ledger
from monitoring.ledger.days import read_answers_by_day
from monitoring.ledger.patient_key import open_patient_key
from monitoring.ledger.versions import load
from monitoring.logged.body import FIELDS
from monitoring.maintenance.export import export
from monitoring.maintenance.recount import check
from monitoring.maintenance.retention import prune
from monitoring.patient_id import PatientKey, as_text
from monitoring.recalibration import recalibrate
from monitoring.reports.page_data import read_page_data
from monitoring.routes import endpoints
from tests.builders.answers import DAY_NS, NOW_NS, draw, label, make_card, make_row, prediction_id
from tests.builders.asgi import client_in_loop
from tests.builders.monitored import (
    BOTH_DATABASES,
    Clock,
    MonitoredModel,
    assert_same_state,
    client_of,
    page_client_of,
)

pytestmark = pytest.mark.anyio


DATABASES = BOTH_DATABASES


MODEL = {"model": "retina", "version": 3, "classes": ["healthy", "mild", "severe"]}


SERVED_AT = "2026-09-20T12:00:00Z"


@pytest.fixture
async def client(monitored: MonitoredModel) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(monitored) as opened:
        assert (await opened.post("/models-log", json=MODEL)).status_code == 200
        yield opened


def said(number: int, **more: Any) -> dict[str, Any]:
    return {
        "model": "retina",
        "request_id": f"eye-{number}",
        "probabilities": [0.1, 0.8, 0.1],
    } | more


async def test_it_is_in_reports_metrics_drift_and_slices(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    items = [
        said(number, served_at=SERVED_AT, label="mild", tags={"site": "A"}) for number in range(60)
    ]
    answers = (await client.post("/predictions-log", json=items)).json()
    assert {(answer["status"], answer["feedback"]) for answer in answers} == {
        ("accepted", "accepted")
    }
    assert {UUID(answer["prediction_id"]).version for answer in answers} == {7}
    by_request = {"model": "retina", "request_id": "eye-99", "label": "severe"}
    # before its answer
    assert (await client.post("/feedback", json=by_request)).json() == {"status": "pending"}
    assert (await client.post("/predictions-log", json=said(99))).json()["status"] == "accepted"
    by_key = {"prediction_id": answers[0]["prediction_id"], "label": "healthy"}
    assert (await client.post("/feedback", json=by_key)).json()["status"] == "corrected"
    report = (await client.get("/models/retina/report")).json()
    assert report["version"] == 3
    assert report["coverage"] == {"served": 61, "labeled": 61, "ratio": 1.0}
    assert report["drift"]["labels"] == 61
    assert report["measures"]["accuracy"] == pytest.approx(59 / 61)
    assert report["diagnosis"]["accuracy"]["answer"] == "unknown"  # there is no reference
    slices = (await client.get("/models/retina/report/slices")).text
    assert "tag:site=A" in slices
    assert "true:severe" in slices
    assert "predicted:mild" in slices
    metrics = (await client.get("/metrics")).text
    assert 'candor_feedback_total{finding="",model="retina",version="3"} 61.0' in metrics
    series = 'candor_calibration_labels{finding="",model="retina",version="3",window="all"}'
    assert f"{series} 61.0" in metrics
    assert "retina" in model_page(read_page_data(monitored.ledger, "retina"))
    assert check(monitored.ledger).agrees
    assert_same_state(*monitored.detectors(2))


async def test_the_same_again_is_unchanged_whatever_time_it_names(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    mine = str(uuid_utils.UUID(bytes=prediction_id(7)))
    first = [said(1), said(2, served_at=SERVED_AT), said(3, prediction_id=mine), said(1)]
    answers = (await client.post("/predictions-log", json=first)).json()
    assert [answer["status"] for answer in answers] == [
        "accepted",
        "accepted",
        "accepted",
        "unchanged",
    ]
    assert answers[2]["prediction_id"] == mine
    monitored.ledger.clock.now_ns += 5 * DAY_NS
    again = [said(1, label="mild"), said(2), said(3, prediction_id=mine)]
    answers = (await client.post("/predictions-log", json=again)).json()
    assert [answer["status"] for answer in answers] == ["unchanged"] * 3
    assert answers[0]["feedback"] == "accepted"
    assert monitored.rows("SELECT count(*) FROM prediction") == [(3,)]
    other = said(1, probabilities=[0.8, 0.1, 0.1])
    answer = await client.post("/predictions-log", json=other)
    assert (answer.status_code, answer.json()["error"]) == (409, "prediction_differs")
    version_4 = MODEL | {"version": 4}
    assert (await client.post("/models-log", json=version_4)).status_code == 200
    answers = (
        await client.post("/predictions-log?version=4", json=[other, said(5, version=3)])
    ).json()
    # another version, another answer
    assert [answer["status"] for answer in answers] == ["accepted", "accepted"]
    assert monitored.rows("SELECT count(*) FROM prediction WHERE watched_version_id = 2") == [(4,)]


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "unheard"}, 404, "unknown_model"),
    ({"version": 9}, 404, "unknown_model"),
    ({"model": "pneumonia"}, 409, "model_served"),
    ({"model": "pneumonia", "version": 1}, 409, "model_served"),
    ({"model": "pneumonia", "version": 7}, 404, "unknown_model"),
    ({"label": "cat"}, 422, "unknown_label"),
    *(
        (more, 422, "invalid_prediction")
        for more in (
            {"model": None},
            {"request_id": None},
            {"age": 40},
            {"probabilities": None},
            {"probabilities": [0.5, 0.5]},
            {"probabilities": [0.5, 0.5, 0.5]},
            {"probabilities": [-0.1, 1.0, 0.1]},
            {"probabilities": [10**400, 0, 0]},
            {"probabilities": {"healthy": 0.5, "cat": 0.5}},
            {"predicted": "healthy"},
            {"confidence": 0.5},
            {"probabilities": None, "predicted": "cat", "confidence": 1},
            {"version": True},
            {"prediction_id": "f47ac10b-58cc-4372-a567-0e02b2c3d479"},
            {"served_at": "2031-01-01"},
            {"served_at": "yesterday"},
            {"tags": {"a": "1", "b": "2", "c": "3", "d": "4"}},
            {"audit": 0},
            {"prediction_id": str(UUID(bytes=prediction_id(1))), "served_at": "2020-01-01"},
        )
    ),
]


async def test_a_declared_version_costs_nothing_until_it_answers(
    monitored: MonitoredModel, tmp_path: Path
) -> None:
    """Neither series of metrics nor reports: 20 declared models cost an open overview no read."""
    reads: list[str] = []

    def count(*given: Any) -> None:
        reads.append(given[2])

    async with page_client_of(monitored, tmp_path) as client:
        event.listen(Engine, "before_cursor_execute", count)
        try:
            await _sizes(client, reads)  # which keeps what it read
            before = await _sizes(client, reads)
            for number in range(20):
                model = MODEL | {"model": f"retina-{number}", "version": 1}
                assert (await client.post("/models-log", json=model)).is_success
            await _sizes(client, reads)  # which names them once
            after = await _sizes(client, reads)
        finally:
            event.remove(Engine, "before_cursor_execute", count)
        assert after == before
        page = (await client.get("/")).text
        assert page.count('<a href="/models/retina-') == 20
        assert (await client.get("/?q=retina-1")).text.count('<a href="/models/retina-') == 11
        assert len((await client.get("/reports")).json()["idle"]) == 20
        assert (await client.get("/models/retina-1/report")).is_success
        item = said(1, label="mild") | {"model": "retina-1"}
        assert (await client.post("/predictions-log", json=item)).is_success
        assert len((await client.get("/reports")).json()["models"]) == 2
        assert (await client.get("/")).text.count('<a href="/models/retina-') == 19
        assert await _predictions(client, "retina-1") == 1


async def _sizes(client: httpx.AsyncClient, reads: list[str]) -> list[int]:
    """Lines of /metrics, and the reads of the ledger by metrics, overview and reports."""
    lines = len((await client.get("/metrics")).text.splitlines())
    sizes = [lines]
    for path in ("/metrics", "/", "/reports"):
        reads.clear()
        assert (await client.get(path)).is_success
        sizes.append(len(reads))
    return sizes


async def _predictions(client: httpx.AsyncClient, model: str) -> float:
    text = (await client.get("/metrics")).text
    series = [
        line
        for line in text.splitlines()
        if line.startswith("candor_predictions_total{") and f'model="{model}"' in line
    ]
    assert len(series) == 1
    return sum(float(line.rsplit(" ", 1)[1]) for line in series)


async def test_what_cannot_be_is_refused(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    for more, status, code in BAD:
        answer = await client.post("/predictions-log", content=json.dumps(said(1) | more))
        assert (answer.status_code, answer.json()["error"]) == (status, code), more
    items = [said(1) | more for more, *_ in BAD]
    answer = await client.post("/predictions-log", content=json.dumps(items))
    assert answer.status_code == 422
    assert len(answer.json()["results"]) == len(BAD)
    assert (await client.post("/predictions-log?day=1", json=said(1))).status_code == 422
    for body in (b"[]", b"3", b"{"):
        assert (await client.post("/predictions-log", content=body)).status_code in (400, 422)
    assert monitored.rows("SELECT count(*) FROM prediction") == [(0,)]


async def test_a_declaration_is_never_changed(client: httpx.AsyncClient) -> None:
    assert (await client.post("/models-log", json=MODEL)).status_code == 200
    others: list[Any] = [
        MODEL | {"classes": ["healthy", "severe", "mild"]},
        MODEL | {"reference": {"confidence": [0.9], "correct": [True]}},
        {"model": "pneumonia", "classes": ["normal", "pneumonia"]},
    ]
    for other, code in zip(others, ("model_differs", "model_differs", "model_served"), strict=True):
        answer = await client.post("/models-log", json=other)
        assert (answer.status_code, answer.json()["error"]) == (409, code)
    bad: list[Any] = [[], {"model": "a b", "classes": ["x", "y"]}, {"model": "m", "classes": ["x"]}]
    bad += [
        {"model": "m", "classes": ["x", "x"]},
        {"model": "m", "version": 0, "classes": ["x", "y"]},
    ]
    good = {"model": "m", "classes": ["x", "y"]}
    references: list[Any] = [[], {"confidence": [1]}, {"confidence": [1.5], "correct": [True]}]
    references += [{"confidence": [0.5], "correct": [1]}, {"confidence": [0.5], "correct": []}]
    bad += [good | {"reference": reference} for reference in references] + [good | {"size": 3}]
    for body in bad:
        answer = await client.post("/models-log", json=body)
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_model"), body


async def test_a_reference_is_what_the_report_compares_with(client: httpx.AsyncClient) -> None:
    reference = {"confidence": [0.75] * 400, "correct": [True] * 300 + [False] * 100}
    declared = {"model": "ct", "classes": ["no", "yes"], "reference": reference}
    assert (await client.post("/models-log", json=declared)).status_code == 200
    item = {"model": "ct", "predicted": "yes", "confidence": 0.75, "label": "no"}
    await client.post(
        "/predictions-log", json=[item | {"request_id": str(number)} for number in range(50)]
    )
    report = (await client.get("/models/ct/report")).json()
    assert report["reference"]["accuracy"] == 0.75
    assert report["diagnosis"]["accuracy"]["difference"]["estimate"] == -0.75
    assert report["diagnosis"]["accuracy"]["answer"] == "lower"


async def test_pruned_days_do_not_come_back(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    old = said(1, served_at="2026-08-01T00:00:00Z")
    assert (await client.post("/predictions-log", json=old)).json()["status"] == "accepted"
    pruned = prune(monitored.ledger, older_than_s=10 * 86_400.0)
    assert pruned.answers == 1
    assert (await client.post("/predictions-log", json=old)).json()["status"] == "expired"
    assert check(monitored.ledger).agrees


async def test_a_ledger_that_was_exported_can_be_logged_in_another(
    monitored: MonitoredModel, tmp_path: Path
) -> None:
    """Through the client, as a table: what Candor served here is watched there."""
    monitored.serve(*(make_row(number, request_id=f"scan-{number}") for number in range(30)))
    monitored.label(*(label(number) for number in range(20)))
    export(monitored.ledger, tmp_path / "answers.csv")
    with MonitoredModel(tmp_path / "other.db", Clock()) as other:
        app = Starlette(
            routes=routes_of(endpoints(other.recorder, other.ledger, other.metrics)),
            exception_handlers=ERROR_HANDLERS,
        )
        client = client_in_loop(httpx.ASGITransport(app))
        declared_model = {"model": "elsewhere", "classes": ["normal", "pneumonia"]}
        await asyncio.to_thread(client.declare, declared_model)
        with (tmp_path / "answers.csv").open(newline="") as stream:
            rows = [_loggable(row) for row in csv.DictReader(stream)]
        for _ in range(2):
            summary = await asyncio.to_thread(client.upload, "/predictions-log", rows)
            assert summary["problems"] == []
        assert summary["statuses"] == {"unchanged": 30}
        columns = (
            "prediction_id, request_id, predicted, confidence, probabilities, served_at_ns, tags, "
            "audit"
        )
        wanted = f"SELECT {columns} FROM prediction ORDER BY prediction_id"
        assert other.rows(wanted) == monitored.rows(wanted)
        assert other.sums(2).labeled.total == 20
        assert check(other.ledger).agrees


def _loggable(row: dict[str, str]) -> dict[str, str]:
    left_out = {"correct", "labeled_at", "revision"}
    return {name: value for name, value in row.items() if value and name not in left_out} | {
        "model": "elsewhere"
    }


def declared(card: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": card["name"],
        "version": card["version"],
        "bundle_card": card,
    }


async def test_recalibration_finds_answers_that_were_logged_with_the_card_of_a_bundle(
    client: httpx.AsyncClient, monitored: MonitoredModel, tiny_store: Store
) -> None:
    """The model is surer than right, by twice its temperature."""
    card, rng = tiny_store.read("tiny").card, np.random.default_rng(0)
    said = await client.post("/models-log", json=declared(card.model_dump(mode="json")))
    assert said.json()["classes"] == list(card.classes)
    honest = rng.normal(0, 3.0, (300, 3))
    truth = draw(rng, softmax(honest))
    rows = [
        {"model": "tiny", "request_id": str(n), "probabilities": p, "label": card.classes[y]}
        for n, (p, y) in enumerate(zip(softmax(2 * honest).tolist(), truth, strict=True))
    ]
    assert (await client.post("/predictions-log", json=rows)).is_success
    done = recalibrate(monitored.ledger, tiny_store, "tiny", publish=False)
    assert done.new_temperature == pytest.approx(2 * done.old_temperature, rel=0.25)


async def test_the_card_of_a_bundle_declares_all_that_reports_know_of_it(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    card = make_card(name="served-elsewhere").model_dump(mode="json")
    assert (await client.post("/models-log", json=declared(card))).status_code == 200
    assert (
        await client.post("/models-log", json=declared(card | {"files": {"model.onnx": "0" * 64}}))
    ).is_success
    answer = {
        "model": "served-elsewhere",
        "request_id": "one",
        "probabilities": [1.0, *[0.0] * (len(card["classes"]) - 1)],
    }
    assert (
        await client.post("/predictions-log", json=answer | {"label": card["classes"][0]})
    ).is_success
    report = (await client.get("/models/served-elsewhere/report")).json()
    assert report["temperature"] == card["calibration"]["temperature"]
    assert report["reference"] == card["calibration"]["measures"]
    check(monitored.ledger)


async def test_a_card_that_does_not_fit_is_refused(client: httpx.AsyncClient) -> None:
    card = make_card(name="served-elsewhere").model_dump(mode="json")
    for change in (
        {"bundle_card": {"name": "retina"}},
        {"version": 7},
        {"classes": ["normal", "other"]},
        {"findings": {"normal": 0.5, "pneumonia": 0.5}},
        {"reference": {"confidence": [0.5], "correct": [True]}},
        {"bundle_card": []},
    ):
        refused = await client.post("/models-log", json=declared(card) | change)
        assert (refused.status_code, refused.json()["error"]) == (422, "invalid_model"), change


FILE_KEY, OTHER_KEY = b"k" * 32, b"o" * 32


def test_all_processes_of_a_ledger_hash_alike_and_two_ledgers_do_not(
    ledger_url: str, tmp_path: Path
) -> None:
    with Ledger(ledger_url) as ledger, Ledger(f"sqlite:///{tmp_path / 'other.db'}") as other:
        first, again = open_patient_key(ledger), open_patient_key(ledger)
        assert first.hash("MRN-17") == again.hash("MRN-17") != first.hash("MRN-18")
        assert open_patient_key(other).hash("MRN-17") != first.hash("MRN-17")
        assert first.hash(None) is None
        assert b"".join(str(first).encode().split()).find(first.secret) == -1


def test_the_key_that_a_ledger_began_with_stays(ledger_url: str) -> None:
    with Ledger(ledger_url) as ledger:
        key = open_patient_key(ledger, FILE_KEY)
        assert key.hash("MRN-17") == PatientKey(FILE_KEY).hash("MRN-17")
        with ledger.read() as connection:
            assert connection.execute(text("select secret from patient_key")).all() == [(None,)]
        assert open_patient_key(ledger, FILE_KEY) == key
        for wrong in (None, OTHER_KEY):
            with pytest.raises(LedgerError, match="CANDOR_PATIENT_KEY_FILE"):
                open_patient_key(ledger, wrong)


def test_a_ledger_that_made_its_key_keeps_it(ledger_url: str) -> None:
    with Ledger(ledger_url) as ledger:
        open_patient_key(ledger)
        with pytest.raises(LedgerError, match="made its own"):
            open_patient_key(ledger, FILE_KEY)


@pytest.mark.anyio
async def test_logged_answers_name_patients_that_no_table_shows(
    ledger_url: str, tmp_path: Path, monitored: MonitoredModel
) -> None:
    async with client_of(monitored) as client:
        assert (await client.post("/models-log", json=MODEL)).status_code == 200
        item = {"model": "retina", "predicted": "mild", "confidence": 0.9}
        patients = ["MRN-17", " MRN-17 ", 17, "17", None]
        items = [
            item | {"request_id": str(number), "patient": patient}
            for number, patient in enumerate(patients)
        ]
        answers = (await client.post("/predictions-log", json=items)).json()
        assert {answer["status"] for answer in answers} == {"accepted"}
        table = "model,request_id,predicted,confidence,patient\nretina,7,mild,0.9,MRN-17\n"
        sent = await client.post(
            "/predictions-log", content=table, headers={"Content-Type": "text/csv"}
        )
        assert sent.status_code == 200
        refused = await client.post("/predictions-log", json=items[0] | {"patient": "x" * 129})
        assert refused.status_code == 422
    export(monitored.ledger, tmp_path / "all.csv")
    hashed = monitored.recorder.patients.hash
    with (tmp_path / "all.csv").open() as file:
        found = {row["request_id"]: row["patient"] for row in csv.DictReader(file)}
    named, number = as_text(hashed("MRN-17")), as_text(hashed("17"))
    assert [found[each] for each in "012347"] == [named, named, number, number, "", named]
    assert "MRN-17" not in (tmp_path / "all.csv").read_text()
    if ledger_url.startswith("sqlite"):
        assert not any(b"MRN-17" in file.read_bytes() for file in tmp_path.glob("ledger.db*"))


def test_changes_of_the_answers_count_a_patient_once(ledger_url: str) -> None:
    first = NOW_NS // DAY_NS
    with MonitoredModel(ledger_url, Clock()) as monitored:
        days: list[tuple[int, list[str | None]]] = [
            (0, ["A", "A", "A", None, None]),
            (1, ["A", "B", "B", None]),
            (400, ["A", "C"]),
        ]
        number = 0
        for day, patients in days:
            for patient in patients:
                number += 1
                row = make_row(
                    number,
                    watched_version_id=monitored.watched_version_id,
                    served_at_ns=NOW_NS + day * DAY_NS,
                )
                monitored.serve(row._replace(patient=monitored.recorder.patients.hash(patient)))
        (busy,) = monitored.recorder.register(make_card("busy"))  # and names no patients
        later_ns = NOW_NS + 400 * DAY_NS
        monitored.serve(
            *(
                make_row(number, watched_version_id=busy, served_at_ns=later_ns)
                for number in range(100, 1_100)
            )
        )
        with monitored.ledger.read() as connection:
            (version,) = load(connection, [monitored.watched_version_id])
            found = read_answers_by_day(connection, version, since_day=0, before_day=first + 500)
    assert [(day - first, int(counts.sum())) for day, counts in found] == [(0, 3), (1, 2), (400, 2)]
    assert all(np.argwhere(counts).tolist() == [[1, 13]] for _, counts in found)


def test_tags_that_identify_are_refused() -> None:
    for key in ("patient", "Patient_ID", "PatientName", "mrn", "subject-id", "NHS.number", "name"):
        assert not is_key(key)
        with pytest.raises(TagsInvalid, match="patient"):
            read_tags(f"{key}=17")
    assert all(is_key(key) for key in ("site", "patient_position", "device_name", "ward"))


def test_a_column_of_patients_is_sent_as_the_patient() -> None:
    names = ["request_id", "predicted", "confidence", "subject_id"]
    found = prediction_columns(names, FIELDS, ColumnWishes())
    row = dict(zip(names, ["a", "ill", 0.9, "s-1"], strict=True))
    assert found.item(row) == {
        "request_id": "a",
        "predicted": "ill",
        "confidence": 0.9,
        "patient": "s-1",
    }


def test_a_column_of_patients_is_sent_with_its_label(tmp_path: Path) -> None:
    def found(column: str, cells: Sequence[str], group: str | None = None) -> UploadColumns:
        names = ["request_id", "label", column]
        rows = (f"{number},ill,{cell}" for number, cell in enumerate(cells))
        (tmp_path / "labels.csv").write_text("\n".join([",".join(names), *rows]))
        return label_columns(
            names, LABEL_FIELDS, ColumnWishes(group=group), file=tmp_path / "labels.csv"
        )

    patients = [f"P{number // 2:03}" for number in range(12)]
    row = {"request_id": "1", "label": "ill", "Subject ID": "P001", "code": "P001"}
    sent = {"request_id": "1", "label": "ill", "patient": "P001"}
    assert found("Subject ID", patients).item(row) == sent
    with pytest.raises(PredictionsRefused, match="'code'"):
        found("code", patients)
    assert found("code", patients, "code").item(row) == sent
    assert "patient" not in found("code", patients, "none").item(row)
    assert "patient" not in found("lesion", ["0", "1"] * 6).sources  # a finding
