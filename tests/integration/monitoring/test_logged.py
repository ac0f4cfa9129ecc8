"""Logged predictions: declared, logged once, and watched like Candor's own."""

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
import uuid_utils
from sqlalchemy import Engine, event
from starlette.applications import Starlette

from calibration.calibrators.temperature import softmax
from console.error_pages import ERROR_HANDLERS
from console.model_views import model_page
from model_store.store.store import Store
from monitoring.http.endpoint import routes_of
from monitoring.maintenance.export import export
from monitoring.maintenance.recount import check
from monitoring.maintenance.retention import prune
from monitoring.recalibration import recalibrate
from monitoring.reports.page_data import read_page_data
from monitoring.routes import endpoints
from tests.builders.answers import DAY_NS, draw, label, make_card, make_row, prediction_id
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
def monitored(ledger_url: str) -> Any:
    with MonitoredModel(ledger_url, Clock()) as opened:
        yield opened


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
    """Neither series of metrics nor reports: 100 declared models cost an overview no read."""
    reads: list[str] = []

    def count(*given: Any) -> None:
        reads.append(given[2])

    async with page_client_of(monitored, tmp_path) as client:
        event.listen(Engine, "before_cursor_execute", count)
        try:
            await _sizes(client, reads)  # which keeps what it read
            before = await _sizes(client, reads)
            for number in range(100):
                model = MODEL | {"model": f"retina-{number}", "version": 1}
                assert (await client.post("/models-log", json=model)).is_success
            after = await _sizes(client, reads)
        finally:
            event.remove(Engine, "before_cursor_execute", count)
        assert after == before
        page = (await client.get("/")).text
        assert page.count('<a href="/models/retina-') == 100
        assert (await client.get("/?q=retina-7")).text.count('<a href="/models/retina-') == 11
        assert len((await client.get("/reports")).json()["idle"]) == 100
        assert (await client.get("/models/retina-7/report")).is_success
        item = said(1, label="mild") | {"model": "retina-7"}
        assert (await client.post("/predictions-log", json=item)).is_success
        assert len((await client.get("/reports")).json()["models"]) == 2
        assert (await client.get("/")).text.count('<a href="/models/retina-') == 99
        assert await _predictions(client, "retina-7") == 1


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


async def test_a_version_that_candor_serves_is_not_declared(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/models-log", json={"model": "pneumonia", "classes": ["normal", "pneumonia"]}
    )
    assert (answer.status_code, answer.json()["error"]) == (409, "model_served")


async def test_a_declaration_is_never_changed(client: httpx.AsyncClient) -> None:
    assert (await client.post("/models-log", json=MODEL)).status_code == 200
    others: list[Any] = [
        MODEL | {"classes": ["healthy", "severe", "mild"]},
        MODEL | {"reference": {"confidence": [0.9], "correct": [True]}},
    ]
    for other in others:
        answer = await client.post("/models-log", json=other)
        assert (answer.status_code, answer.json()["error"]) == (409, "model_differs")
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


@pytest.mark.parametrize(
    "change",
    [
        {"bundle_card": {"name": "retina"}},
        {"version": 7},
        {"classes": ["normal", "other"]},
        {"findings": {"normal": 0.5, "pneumonia": 0.5}},
        {"reference": {"confidence": [0.5], "correct": [True]}},
        {"bundle_card": []},
    ],
)
async def test_a_card_that_does_not_fit_is_refused(
    client: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    card = make_card(name="served-elsewhere").model_dump(mode="json")
    refused = await client.post("/models-log", json=declared(card) | change)
    assert (refused.status_code, refused.json()["error"]) == (422, "invalid_model")
