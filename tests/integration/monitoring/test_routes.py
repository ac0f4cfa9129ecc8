"""The monitoring room over HTTP on a real ledger: every answer, every refusal."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from calibration.diagnosis.planner import labels_needed
from calibration.drift.state import DriftSettings
from console.routes import LEDGER_PAGES
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackPolicy
from monitoring.http.endpoint import JSON, Endpoint
from monitoring.routes import ENDPOINTS, table_upload
from monitoring.routes import request as request_module
from monitoring.routes.request import BODY_LIMIT_BYTES
from monitoring.routes.tables import NDJSON
from tests.builders.answers import make_card, make_row, prediction_id
from tests.builders.monitored import MonitoredModel

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.world(settings=DriftSettings(average_run_length=50), tags=TagSettings(("site",))),
]
REPORT = "/models/pneumonia/report"
PAGE = f"{REPORT}/page?version=1"
ACKNOWLEDGE = f"{REPORT}/acknowledge"
BROWSER = {"accept": "text/html"}


@pytest.fixture
def served(monitored: MonitoredModel) -> MonitoredModel:
    """Forty answers."""
    rows = (make_row(n, confidence=0.8, request_id=f"scan-{n}") for n in range(40))
    monitored.serve(*rows)
    return monitored


def named(number: int) -> str:
    return str(UUID(bytes=prediction_id(number)))


def word(number: int, label: str = "pneumonia") -> dict[str, str]:
    return {"prediction_id": named(number), "label": label}


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def rejected(monitored: MonitoredModel, reason: str) -> float | None:
    name = "candor_feedback_rejected_total"
    return monitored.registry.get_sample_value(name, {"reason": reason})


# Labels


async def test_a_label_goes_through_its_life(
    client: httpx.AsyncClient, served: MonitoredModel
) -> None:
    by_request = {"model": "pneumonia", "request_id": "scan-2", "label": "normal"}
    for body, answered in (
        (word(1), {"status": "accepted", "prediction_id": named(1)}),
        (word(1), {"status": "unchanged", "prediction_id": named(1)}),
        (word(1, "normal"), {"status": "corrected", "prediction_id": named(1)}),
        (by_request, {"status": "accepted", "prediction_id": named(2)}),
        (by_request | {"request_id": "scan-99"}, {"status": "pending"}),
        (word(99), {"status": "unknown", "prediction_id": named(99)}),
    ):
        answer = await client.post("/feedback", json=body)
        assert (answer.status_code, answer.json()) == (200, answered)
    some = [word(3), {"label": 3}, word(4, "cat"), word(5, "normal")]
    answers = (await client.post("/feedback", json=some)).json()
    assert [each["status"] for each in answers] == ["accepted", "rejected", "rejected", "accepted"]
    assert all(answers[place]["detail"] for place in (1, 2))
    assert served.sums().labeled.total == 4
    assert (rejected(served, "invalid"), rejected(served, "unknown_label")) == (1, 1)


@pytest.mark.parametrize(
    "endpoint", [each for each in ENDPOINTS if JSON in each.takes], ids=lambda each: each.path
)
async def test_no_body_gives_a_key_twice(client: httpx.AsyncClient, endpoint: Endpoint) -> None:
    path = endpoint.path.format(model="pneumonia")
    for body in ('{"note": "a", "note": "b"}', '{"labels": {"a": 1, "a": 0}}'):
        got = await client.post(path, content=body, headers={"content-type": JSON})
        assert (got.status_code, "twice in one object" in got.text) == (422, True), got.text


async def test_a_label_given_twice_is_no_label(
    client: httpx.AsyncClient, served: MonitoredModel
) -> None:
    twice = json.dumps(word(1))[:-1] + ', "label": "normal"}'
    for body, media in ((f"[{json.dumps(word(2))}, {twice}]", JSON), (twice, NDJSON)):
        await client.post("/feedback", content=body, headers={"content-type": media})
    assert served.sums().labeled.total == 1


REFUSALS: list[tuple[str, bytes | None, int, str]] = [
    *(("/feedback", body, 400, "malformed_body") for body in (b"", b"{", b"\xff\xd8\xff\xe0")),
    *(
        ("/feedback", body, 422, "invalid_feedback")
        for body in (
            b"null",
            b"[]",
            json.dumps([word(1)] * 10_001).encode(),
            json.dumps(word(1) | {"source": "\ud800"}).encode(),
            b'[{"label": 1}, {"label": 2}]',
        )
    ),
    ("/feedback", json.dumps(word(1, "cat")).encode(), 422, "unknown_label"),
    ("/feedback", b'{"model": "retina", "request_id": "a", "label": "b"}', 404, "unknown_model"),
    ("/feedback", b" " * (BODY_LIMIT_BYTES + 1), 413, "body_too_large"),
    ("/models/retina/report/acknowledge", b"", 404, "unknown_model"),
    (ACKNOWLEDGE, b"{", 400, "malformed_body"),
    *((ACKNOWLEDGE, it, 422, "invalid_note") for it in (b"[]", b'{"reason": "a"}', b'{"note": 7}')),
    *(
        (ACKNOWLEDGE, b'{"tag": "%s"}' % it, 404, "tag_not_watched")
        for it in (b"site=B", b"scope:doubtful")
    ),
    (f"{REPORT}/reset", b'{"tag": "\\u0000"}', 422, "invalid_note"),
    (f"{REPORT}/reset", b'{"note": "  "}', 422, "invalid_note"),
    *((PAGE, it, 422, "invalid_form") for it in (b"", b"note=", b"note=++", b"note=" + b"a" * 201)),
    *((PAGE, body, 422, "invalid_form") for body in (b"garbage", b"%ff=1")),
    *(
        (f"/models/{path}", None, 404, "unknown_model")
        for path in (
            *("retina/report", "ghost/report", "retina/report/page", "pneumonia/report?version=9"),
            *("ghost/report/history", "a" * 3_000 + "/report"),
        )
    ),
    *(
        (f"{REPORT}{query}", None, 422, "invalid_query")
        for query in (
            *("?version=one", "?version=" + "1" * 50, "?version=%C2%B2", "?window=week"),
            *("?gap=0.001", "?gap=nan", "/page?gap=much", "/slices?window=days:0"),
        )
    ),
]


async def test_each_refusal_has_its_own_code_and_changes_nothing(
    client: httpx.AsyncClient, served: MonitoredModel
) -> None:
    for path, body, status, code in REFUSALS:
        if body is None:
            answer = await client.get(path)
        else:
            form = {"content-type": "application/x-www-form-urlencoded"} if path == PAGE else {}
            answer = await client.post(path, content=body, headers=form)
        assert refusal(answer) == (status, code), (path, body)
        assert len(answer.content) < 1_000
    assert served.sums().labeled.total == 0
    assert await acknowledgments(client) == []
    assert (await client.post("/feedback", json=word(1))).json()["status"] == "accepted"


@pytest.mark.world(policy=FeedbackPolicy(pending_limit=0))
async def test_too_many_pending_labels_ask_for_patience(client: httpx.AsyncClient) -> None:
    early = {"model": "pneumonia", "request_id": "a", "label": "normal"}
    assert refusal(await client.post("/feedback", json=early)) == (503, "too_many_pending")


async def test_what_is_away_is_a_503_and_no_stack_trace(
    client: httpx.AsyncClient, served: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked() -> None:
        raise OperationalError("SELECT secret", {}, Exception("database is locked"))

    monkeypatch.setattr(served.ledger, "read", locked)
    answer = await client.get(REPORT)
    assert refusal(answer) == (503, "ledger_unavailable")
    assert "secret" not in answer.text
    served.recorder.close()
    answer = await client.post("/feedback", json=word(1))
    assert refusal(answer) == (503, "recorder_closed")


EXTREME = (
    *("0001-01-01", "9999-12-31", "1969-12-31", "2262-04-12", "-0001-01-01", "2026-02-30"),
    *("0", "-1", "1e400", "nan", "inf", "-inf", "9" * 400, "999999999", "0x10", "٣", "1.5"),
    *("0-1", "1e-400-1", "nan-nan", "0.5-1e400", "days:999999999", "last:0", "days:10000"),
    *("ffffffff-ffff-ffff-ffff-ffffffffffff", "\x00", "\ud800", "a" * 5_000, "a=b", "=", ""),
)


async def test_no_value_of_a_query_is_a_server_error(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    monitored.answer(range(50), wrong=5, tags='{"site": "A"}')
    asked = [
        f"{each.path.replace('{model}', 'pneumonia')}?{name}="
        + quote(value.encode("utf-8", "surrogatepass"))
        for each in (*ENDPOINTS, *LEDGER_PAGES)
        if each.method == "GET" and each.path != "/metrics"
        for name in each.known
        for value in EXTREME
    ]
    assert len(asked) > 1_000
    for path in asked:
        assert (await client.get(path)).status_code < 500, path


# Tables of labels


async def send(
    client: httpx.AsyncClient, lines: Any, media: str = "application/x-ndjson"
) -> httpx.Response:
    content = "\n".join(lines).encode() if isinstance(lines, list) else lines
    return await client.post("/feedback", content=content, headers={"content-type": media})


async def test_a_csv_and_ndjson_are_recorded_row_by_row(
    client: httpx.AsyncClient, served: MonitoredModel
) -> None:
    lines = [
        "prediction_id,label,model,request_id,source",
        *(f"{named(number)},pneumonia,,," for number in range(10)),
        *(",normal,pneumonia,scan-10,audit", f"{named(1)},cat,,,", f"{named(99)},normal,,,"),
        "broken",
    ]
    summary = (await send(client, lines, "text/csv; charset=utf-8")).json()
    assert summary["statuses"] == {"accepted": 11, "rejected": 2, "unknown": 1}
    problems = [(each["line"], each["status"]) for each in summary["problems"]]
    assert problems == [(13, "rejected"), (14, "unknown"), (15, "rejected")]
    assert all(problem["detail"] for problem in summary["problems"])
    assert served.rows("SELECT count(*) FROM feedback WHERE source = 'audit'") == [(1,)]
    summary = (await send(client, [json.dumps(word(number)) for number in range(12)])).json()
    statuses = {"accepted": 1, "corrected": 1, "unchanged": 10}
    assert summary == {"rows": 12, "statuses": statuses, "problems": [], "problems_left_out": 0}
    assert served.sums().labeled.total == 12
    assert rejected(served, "invalid") == 1


async def test_rows_keep_their_order_over_portions(
    client: httpx.AsyncClient, served: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of several words on one answer stands, however the body is cut."""
    monkeypatch.setattr(table_upload, "PORTION_BYTES", 200)
    lines = [json.dumps(word(3, "normal" if turn % 2 else "pneumonia")) for turn in range(40)]

    async def pieces() -> AsyncIterator[bytes]:
        for line in lines:
            yield line[:30].encode()
            yield line[30:].encode() + b"\n"

    answer = await send(client, pieces())
    assert answer.json()["statuses"] == {"accepted": 1, "corrected": 39}
    assert served.rows("SELECT label, revision FROM prediction WHERE revision > 0") == [(0, 39)]


async def test_a_table_beyond_a_limit_and_one_that_stalls_keep_what_came(
    client: httpx.AsyncClient, served: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 MB of rejected rows of four bytes kept the server busy for minutes."""
    lines = [json.dumps(word(number, "normal")) for number in range(20)]

    async def stalls() -> AsyncIterator[bytes]:
        yield lines[10].encode() + b"\n"
        await asyncio.Event().wait()

    for name, value in (("PORTION_BYTES", 100), ("TABLE_LIMIT_BYTES", 1000), ("REJECTED_LIMIT", 3)):
        monkeypatch.setattr(table_upload, name, value)
    monkeypatch.setattr(table_upload, "PROBLEMS_SHOWN", 2)
    summary = (await send(client, [*lines[:5], *["{"] * 3])).json()
    assert (len(summary["problems"]), summary["problems_left_out"]) == (2, 1)
    assert summary["statuses"] == {"accepted": 5, "rejected": 3}
    assert refusal(await send(client, lines)) == (413, "body_too_large")
    monkeypatch.setattr(request_module, "STALL_S", 0.05)
    assert refusal(await send(client, stalls())) == (408, "body_timeout")
    monkeypatch.setattr(table_upload, "TABLE_LIMIT_BYTES", 10**7)
    rubbish = ["prediction_id,label", f"{named(30)},normal", "a,b", *["i,j"] * 100_000]
    answer = await send(client, rubbish, "text/csv")
    assert refusal(answer) == (422, "invalid_table")
    assert "line 3" in answer.json()["detail"]
    monkeypatch.undo()
    assert (await send(client, lines)).json()["rows"] == 20
    assert served.sums().labeled.total == 21


# Reports and pages


async def test_the_report_its_windows_slices_and_history(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    tags = '{"site": "A"}'
    monitored.serve(*(make_row(n, confidence=0.75)._replace(tags=tags) for n in range(120)))
    await client.post("/feedback", json=[word(n, "normal") for n in range(120)])
    monitored.ledger.clock.now_ns += 1
    monitored.recorder.register(make_card(version=2))  # loaded, not promoted
    assert (await client.get(f"{REPORT}?version=2")).json()["version"] == 2
    for query, window in (("", "now"), ("?version=1&window=days:1", "days:1")):
        report = (await client.get(REPORT + query)).json()
        assert (report["version"], report["window"]) == (1, window)
        assert (report["measures"]["n"], report["measures"]["signed_gap"]) == (120, 0.75)
    assert report["drift"]["active"]
    first, *_ = (await client.get("/reports")).json()["models"]
    assert first["model"] == "pneumonia"
    assert "bins" not in first
    found = (await client.get(f"{REPORT}/slices?version=1&window=days:3")).json()
    assert (found["model"], found["version"], found["window"]) == ("pneumonia", 1, "days:3")
    assert {each["name"] for each in found["known"]} == {"predicted:pneumonia", "tag:site=A"}
    assert found["known"][0]["gap_lower"] > 0
    assert found["by_true_class"][0]["name"] == "true:normal"
    note = {"note": "new detector plate"}
    answer = await client.post(f"{REPORT}/reset?version=1", json=note)
    assert answer.json()["drift"] == {"active": False, "labels": 0}
    events = (await client.get(f"{REPORT}/history?version=1")).json()["events"]
    assert [event["kind"] for event in events[:: len(events) - 1]] == ["started", "reset"]
    assert events[-1]["detail"]["note"] == note["note"]


async def test_pages_are_html_and_carry_a_policy(
    client: httpx.AsyncClient, served: MonitoredModel
) -> None:
    for path in ("/", f"{REPORT}/page", f"{REPORT}/page?window=days:7"):
        page = await client.get(path)
        headers = page.headers
        assert headers["content-type"].startswith("text/html")
        assert "pneumonia" in page.text
        assert (headers["x-content-type-options"], headers["cache-control"]) == (
            *("nosniff", "no-store"),
        )
        policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        # the policy would forbid them
        assert not re.search(r"<style|<script[^>]*>[^<]|\sstyle=|\son\w+=", page.text)


@pytest.mark.parametrize("gap", [0.02, 0.1])
async def test_labels_are_planned_in_advance(
    client: httpx.AsyncClient, served: MonitoredModel, gap: float
) -> None:
    asked = f"version=1&gap={gap}"
    found = (await client.get(f"{REPORT}?{asked}")).json()["diagnosis"]["open"][0]
    needed = labels_needed(np.array([0.8]), gap)
    everyone = {"key": "all", "values": [], "within": None}
    assert found == {"group": everyone, "gap": gap, "labels": needed, "kind": "random"}
    page = (await client.get(f"{REPORT}/page?{asked}")).text
    assert f'name="gap" min="0.02" max="0.5" step="0.01" value="{gap}"' in page
    assert f"{needed:,} more labels" in page


# Acknowledgments: one alarm is acknowledged once, by page or API


async def drift(client: httpx.AsyncClient, start: int, count: int = 60) -> None:
    """Answers of `monitored` that are sure and wrong, at one site."""
    numbers = range(start, start + count)
    answer = await client.post("/feedback", json=[word(n, "normal") for n in numbers])
    assert answer.status_code == 200
    assert {each["status"] for each in answer.json()} == {"accepted"}


@pytest.fixture
def sure(monitored: MonitoredModel) -> MonitoredModel:
    """300 answers of .95 at one site."""
    tags = '{"site":"B"}'
    monitored.serve(*(make_row(n, confidence=0.95)._replace(tags=tags) for n in range(300)))
    return monitored


async def forms(client: httpx.AsyncClient) -> list[dict[str, str]]:
    """The forms of the overview and of the slices, with their hidden fields and a note."""
    pages = [(await client.get(at, headers=BROWSER)).text for at in (PAGE, "/slices/pneumonia")]
    action = r'<form[^>]* action="\?.*?</form>'
    found = dict.fromkeys(re.findall(action, "".join(pages), re.DOTALL))
    hidden = r"type=\"hidden\" name=\"(\w+)\" value='([^']*)'"
    return [
        dict(re.findall(hidden, form)) | {"note": "lamp replaced"}
        for form in found
        if 'method="post"' in form
    ]


async def fill_in(client: httpx.AsyncClient, form: dict[str, str]) -> httpx.Response:
    return await client.post(PAGE, data=form, headers=BROWSER)


async def watched(client: httpx.AsyncClient) -> tuple[bool, int]:
    found = (await client.get(REPORT)).json()["drift"]
    return found["active"], found["labels"]


async def acknowledgments(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    events = (await client.get(f"{REPORT}/history")).json()["events"]
    return [each for each in events if each["kind"] in ("acknowledged", "reset")]


async def test_a_form_that_two_people_send_restarts_the_watch_once(
    client: httpx.AsyncClient, sure: MonitoredModel
) -> None:
    await drift(client, 0)
    whole, of_tag = await forms(client)
    assert json.loads(of_tag["alarms"])[0][1] == "site=B"
    assert [(await fill_in(client, of_tag)).status_code for _ in range(2)] == [303, 409]
    assert (await watched(client))[0] is True  # the alarm of a tag is another alarm
    answers = await asyncio.gather(*(fill_in(client, whole) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409]
    await drift(client, 100)  # a later alarm
    before = await watched(client)
    late = await fill_in(client, whole | {"note": "again"})
    assert late.status_code == 409
    assert "lamp replaced" in late.text
    assert f'<a href="{PAGE}">Back to the model</a>' in late.text
    assert await watched(client) == before == (True, 60)
    assert sorted(str(each["tag"]) for each in await acknowledgments(client)) == ["None", "site=B"]
    slices, (form, *_) = "/slices/pneumonia", await forms(client)
    done = await client.post(slices, data=form, headers=BROWSER)
    assert done.headers["location"].startswith(f"{slices}?")  # said where it was done
    assert "Acknowledged" in (await client.get(done.headers["location"], headers=BROWSER)).text
    assert (await watched(client))[0] is False


async def test_the_api_says_that_it_was_done_already(
    client: httpx.AsyncClient, sure: MonitoredModel
) -> None:
    assert (await client.post(ACKNOWLEDGE)).json()["unchanged"]
    await drift(client, 0)
    alarm = (await client.get(REPORT)).json()["drift"]["alarm_feedback_id"]
    other = (await client.post(ACKNOWLEDGE, json={"alarm": alarm + 1})).json()
    assert (other["drift"]["active"], bool(other["unchanged"])) == (True, True)
    first = (await client.post(ACKNOWLEDGE, json={"note": "known", "alarm": alarm})).json()
    assert (first["drift"], "unchanged" in first) == ({"active": False, "labels": 0}, False)
    await drift(client, 100, count=2)
    for body in ({}, {"note": "again"}, {"alarm": alarm}):
        again = (await client.post(ACKNOWLEDGE, json=body)).json()
        assert (again["drift"]["labels"], "known" in again["unchanged"]) == (2, True)
    assert len(await acknowledgments(client)) == 1


async def test_a_malformed_form_restarts_nothing(
    client: httpx.AsyncClient, sure: MonitoredModel
) -> None:
    await drift(client, 0)
    whole, _ = await forms(client)
    last = whole["alarms"].removesuffix("]") + ',[1,"site=C"]]'
    assert (await fill_in(client, whole | {"alarms": last})).status_code == 404
    malformed = ("", "[]", "[[-1, null]]", "[[1]]", f"[[{'9' * 5_000}, null]]")
    for changed in ({"note": " "}, *({"alarms": each} for each in malformed)):
        assert (await fill_in(client, whole | changed)).status_code == 422
    assert (await watched(client))[0] is True
    assert await acknowledgments(client) == []


@pytest.mark.parametrize("by", ["page", "api"])
async def test_chosen_labels_that_are_said_to_be_so_raise_no_second_alarm(
    client: httpx.AsyncClient, sure: MonitoredModel, by: str
) -> None:
    await drift(client, 0)
    whole = (await forms(client))[0] | {"chosen_labels": "yes"}
    refused = await fill_in(client, whole)
    assert refused.status_code == 409  # without an audit nothing would be watched
    assert (await watched(client))[0] is True
    sure.answer(range(1_000, 1_030), audit=0.5)
    if by == "page":
        assert "chosen_labels" in (await client.get(PAGE, headers=BROWSER)).text
        assert (await fill_in(client, whole)).status_code == 303
    else:
        note = {"note": "only errors had labels", "chosen_labels": True}
        assert (await client.post(ACKNOWLEDGE, json=note)).status_code == 200
    await drift(client, 100, count=100)
    assert await watched(client) == (False, 0)
    sure.answer(range(2_000, 2_010), audit=0.5)
    assert await watched(client) == (False, 10)
    for event in await acknowledgments(client):
        assert event["detail"]["chosen_labels"] is True
