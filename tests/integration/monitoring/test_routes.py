"""The monitoring room over HTTP on a real ledger: every answer, every refusal."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from calibration.diagnosis.planner import labels_needed
from monitoring.feedback import FeedbackPolicy
from monitoring.http.endpoint import JSON, Endpoint
from monitoring.routes import ENDPOINTS
from monitoring.routes.request import BODY_LIMIT_BYTES
from monitoring.routes.tables import NDJSON
from tests.builders.answers import make_card, make_row, prediction_id
from tests.builders.monitored import Clock, MonitoredModel, client_of, page_client_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def monitored(tmp_path: Path) -> Any:
    with MonitoredModel(tmp_path / "ledger.db", Clock()) as opened:
        opened.serve(
            *(make_row(number, confidence=0.8, request_id=f"scan-{number}") for number in range(10))
        )
        yield opened


@pytest.fixture
async def client(monitored: MonitoredModel, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    production = {"pneumonia": 1, "ghost": 4}.get
    async with page_client_of(monitored, tmp_path, production=production) as opened:
        yield opened


def named(number: int) -> str:
    return str(UUID(bytes=prediction_id(number)))


def word(number: int, label: str = "pneumonia") -> dict[str, str]:
    return {"prediction_id": named(number), "label": label}


async def test_a_label_goes_through_its_life(client: httpx.AsyncClient) -> None:
    for label, status in (
        ("pneumonia", "accepted"),
        ("pneumonia", "unchanged"),
        ("normal", "corrected"),
    ):
        answer = await client.post("/feedback", json=word(1, label))
        assert (answer.status_code, answer.json()) == (
            200,
            {"status": status, "prediction_id": named(1)},
        )
    by_request = {"model": "pneumonia", "request_id": "scan-2", "label": "normal"}
    answer = await client.post("/feedback", json=by_request)
    assert answer.json() == {"status": "accepted", "prediction_id": named(2)}
    answer = await client.post("/feedback", json=by_request | {"request_id": "scan-99"})
    assert (answer.status_code, answer.json()) == (200, {"status": "pending"})
    answer = await client.post("/feedback", json=word(99))
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "unknown", "prediction_id": named(99)},
    )


@pytest.mark.parametrize(
    "endpoint", [each for each in ENDPOINTS if JSON in each.takes], ids=lambda each: each.path
)
async def test_no_body_gives_a_key_twice(client: httpx.AsyncClient, endpoint: Endpoint) -> None:
    path = endpoint.path.format(model="pneumonia")
    for body in ('{"note": "a", "note": "b"}', '{"labels": {"a": 1, "a": 0}}'):
        got = await client.post(path, content=body, headers={"content-type": JSON})
        assert (got.status_code, "twice in one object" in got.text) == (422, True), got.text


async def test_a_label_given_twice_is_no_label(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    twice = json.dumps(word(1))[:-1] + ', "label": "normal"}'
    for body, media in ((f"[{json.dumps(word(2))}, {twice}]", JSON), (twice, NDJSON)):
        await client.post("/feedback", content=body, headers={"content-type": media})
    assert monitored.sums().labeled.total == 1


async def test_a_list_is_answered_item_by_item(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    answer = await client.post(
        "/feedback", json=[word(1), {"label": 3}, word(2, "cat"), word(3, "normal")]
    )
    assert answer.status_code == 200
    assert [entry["status"] for entry in answer.json()] == [
        "accepted",
        "rejected",
        "rejected",
        "accepted",
    ]
    assert all(answer.json()[place]["detail"] for place in (1, 2))
    assert monitored.sums().labeled.total == 2
    rejected = "candor_feedback_rejected_total"
    assert monitored.registry.get_sample_value(rejected, {"reason": "invalid"}) == 1
    assert monitored.registry.get_sample_value(rejected, {"reason": "unknown_label"}) == 1


REFUSALS: list[tuple[bytes, int, str]] = [
    *((body, 400, "malformed_body") for body in (b"", b"{", b"\xff\xd8\xff\xe0", b"[" * 60_000)),
    *(
        (body, 422, "invalid_feedback")
        for body in (
            b"null",
            b"[]",
            json.dumps([word(1)] * 10_001).encode(),
            json.dumps(word(1) | {"label": float("nan")}).encode(),
            json.dumps(word(1) | {"prediction_id": "a" * 10**6}).encode(),
            json.dumps(word(1) | {"source": "\ud800"}).encode(),
            b'[{"label": 1}, {"label": 2}]',
        )
    ),
    (json.dumps(word(1, "cat")).encode(), 422, "unknown_label"),
    (b'{"model": "retina", "request_id": "a", "label": "b"}', 404, "unknown_model"),
    (b" " * (BODY_LIMIT_BYTES + 1), 413, "body_too_large"),
]


async def test_bad_feedback_gets_its_own_refusal(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    for body, status, code in REFUSALS:
        answer = await client.post("/feedback", content=body)
        assert (answer.status_code, answer.json()["error"]) == (status, code), body[:80]
        assert len(answer.content) < 1_000
    assert monitored.sums().labeled.total == 0
    assert (await client.post("/feedback", json=word(1))).json()["status"] == "accepted"


async def test_too_many_pending_labels_ask_for_patience(tmp_path: Path) -> None:
    policy = FeedbackPolicy(pending_limit=0)
    with MonitoredModel(tmp_path / "full.db", Clock(), policy=policy) as monitored:
        async with client_of(monitored) as client:
            early = {"model": "pneumonia", "request_id": "a", "label": "normal"}
            answer = await client.post("/feedback", json=early)
    assert (answer.status_code, answer.json()["error"]) == (503, "too_many_pending")


async def test_the_report_and_its_windows(client: httpx.AsyncClient) -> None:
    await client.post(
        "/feedback",
        json=[word(number, "pneumonia" if number < 6 else "normal") for number in range(10)],
    )
    report = (await client.get("/models/pneumonia/report")).json()
    assert report["measures"]["n"] == 10
    assert report["measures"]["signed_gap"] == pytest.approx(0.2)
    assert report["drift"]["active"] is False
    today = (await client.get("/models/pneumonia/report?version=1&window=days:1")).json()
    assert (today["measures"]["n"], today["window"]) == (10, "days:1")
    (summary,) = (await client.get("/reports")).json()["models"]
    assert summary["model"] == "pneumonia"
    assert "bins" not in summary


async def test_bad_questions_get_their_own_refusal(client: httpx.AsyncClient) -> None:
    for path, status, code in (
        ("/models/retina/report", 404, "unknown_model"),
        ("/models/ghost/report", 404, "unknown_model"),
        ("/models/retina/report/page", 404, "unknown_model"),
        ("/models/pneumonia/report?version=9", 404, "unknown_model"),
        ("/models/pneumonia/report?version=one", 422, "invalid_query"),
        ("/models/pneumonia/report?version=" + "1" * 50, 422, "invalid_query"),
        ("/models/pneumonia/report?version=%C2%B2", 422, "invalid_query"),
        ("/models/pneumonia/report?window=week", 422, "invalid_query"),
        ("/models/pneumonia/report?gap=0.001", 422, "invalid_query"),
        ("/models/pneumonia/report?gap=nan", 422, "invalid_query"),
        ("/models/pneumonia/report/page?gap=much", 422, "invalid_query"),
        ("/models/" + "a" * 3_000 + "/report", 404, "unknown_model"),
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (status, code), path
        assert len(answer.content) < 500


async def test_without_a_version_the_report_is_about_production(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    monitored.ledger.clock.now_ns += 1
    monitored.recorder.register(make_card(version=2))  # loaded, not promoted
    assert (await client.get("/models/pneumonia/report")).json()["version"] == 1
    assert (await client.get("/models/pneumonia/report?version=2")).json()["version"] == 2


async def test_a_bad_acknowledgment_is_refused(client: httpx.AsyncClient) -> None:
    for path, body, status in (
        ("/models/retina/report/acknowledge", b"", 404),
        ("/models/pneumonia/report/acknowledge", b"{", 400),
        ("/models/pneumonia/report/acknowledge", b"[]", 422),
        ("/models/pneumonia/report/acknowledge", b'{"reason": "known"}', 422),
        ("/models/pneumonia/report/acknowledge", b'{"note": 7}', 422),
        ("/models/pneumonia/report/acknowledge", b'{"tag": "site=B"}', 404),
        ("/models/pneumonia/report/reset", b'{"tag": "\\u0000"}', 422),
        ("/models/pneumonia/report/reset", b'{"note": "  "}', 422),
    ):
        answer = await client.post(path, content=body)
        assert answer.status_code == status, body
        if status == 422:  # it is no feedback
            assert answer.json()["error"] == "invalid_note"


@pytest.mark.parametrize("note", ["", "note=", "note=++", "note=" + "a" * 201])
async def test_the_form_of_the_page_says_what_was_found(
    client: httpx.AsyncClient, monitored: MonitoredModel, note: str
) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.post("/models/pneumonia/report/page", content=note, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_form")
    events = (await client.get("/models/pneumonia/report/history")).json()["events"]
    assert not [event for event in events if event["kind"] == "acknowledged"]


async def test_pages_are_html(client: httpx.AsyncClient) -> None:
    for path in (
        "/",
        "/models/pneumonia/report/page",
        "/models/pneumonia/report/page?window=days:7",
    ):
        page = await client.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assert "pneumonia" in page.text
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-store"
        policy = dict(
            part.split(" ", 1) for part in page.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        # the policy would forbid them
        assert not re.search(r"<style|<script[^>]*>[^<]|\sstyle=|\son\w+=", page.text)


async def test_an_unreachable_ledger_is_a_503_and_no_stack_trace(
    client: httpx.AsyncClient, monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked() -> None:
        raise OperationalError("SELECT secret", {}, Exception("database is locked"))

    monkeypatch.setattr(monitored.ledger, "read", locked)
    answer = await client.get("/models/pneumonia/report")
    assert (answer.status_code, answer.json()["error"]) == (503, "ledger_unavailable")
    assert "secret" not in answer.text


async def test_a_stopped_recorder_is_a_503(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    monitored.recorder.close()
    answer = await client.post("/feedback", json=word(1))
    assert (answer.status_code, answer.json()["error"]) == (503, "recorder_closed")


async def test_slices_history_and_reset(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    numbers = range(100, 220)
    rows = (make_row(n, confidence=0.75)._replace(tags='{"site": "A"}') for n in numbers)
    monitored.serve(*rows)
    await client.post("/feedback", json=[word(n, "normal") for n in numbers])
    found = (await client.get("/models/pneumonia/report/slices?window=days:3")).json()
    assert (found["model"], found["version"], found["window"]) == ("pneumonia", 1, "days:3")
    assert {each["name"] for each in found["known"]} == {"predicted:pneumonia", "tag:site=A"}
    assert found["known"][0]["gap_lower"] > 0
    assert found["by_true_class"][0]["name"] == "true:normal"
    note = {"note": "new detector plate"}
    answer = await client.post("/models/pneumonia/report/reset", json=note)
    assert answer.json()["drift"] == {"active": False, "labels": 0}
    events = (await client.get("/models/pneumonia/report/history")).json()["events"]
    assert [event["kind"] for event in events[:: len(events) - 1]] == ["started", "reset"]
    assert events[-1]["detail"]["note"] == note["note"]
    assert (await client.get("/models/ghost/report/history")).status_code == 404
    assert (await client.get("/models/pneumonia/report/slices?window=days:0")).status_code == 422


@pytest.mark.parametrize("gap", [0.02, 0.1])
async def test_labels_are_planned_in_advance(client: httpx.AsyncClient, gap: float) -> None:
    asked = f"version=1&gap={gap}"
    found = (await client.get(f"/models/pneumonia/report?{asked}")).json()["diagnosis"]["open"]
    assert found[0] | {"labels": 0} == {
        "group": {"key": "all", "values": [], "within": None},
        "gap": gap,
        "labels": 0,
        "kind": "random",
    }
    needed = labels_needed(np.array([0.8]), gap)
    assert found[0]["labels"] == needed
    page = (await client.get(f"/models/pneumonia/report/page?{asked}")).text
    assert f'name="gap" min="0.02" max="0.5" step="0.01" value="{gap}"' in page
    assert f"{needed:,} more labels" in page
