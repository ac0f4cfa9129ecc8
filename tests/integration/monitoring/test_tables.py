"""Tables over HTTP: labels as NDJSON and CSV, read while they come, answered by a summary."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from monitoring.routes import request as request_module
from monitoring.routes import table_upload
from tests.builders.answers import make_row, prediction_id
from tests.builders.monitored import Clock, MonitoredModel, client_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def monitored(tmp_path: Path) -> Any:
    with MonitoredModel(tmp_path / "ledger.db", Clock()) as opened:
        opened.serve(
            *(make_row(number, confidence=0.8, request_id=f"scan-{number}") for number in range(40))
        )
        yield opened


@pytest.fixture
async def client(monitored: MonitoredModel) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(monitored) as opened:
        yield opened


def named(number: int) -> str:
    return str(UUID(bytes=prediction_id(number)))


async def send(client: httpx.AsyncClient, kind: str, lines: list[str]) -> httpx.Response:
    return await client.post(
        "/feedback", content="\n".join(lines).encode(), headers={"content-type": kind}
    )


async def test_a_csv_and_ndjson_are_recorded_row_by_row(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    lines = ["prediction_id,label,model,request_id,source"]
    lines += [f"{named(number)},pneumonia,,," for number in range(10)]
    lines += [
        ",normal,pneumonia,scan-10,audit",
        f"{named(1)},cat,,,",
        f"{named(99)},normal,,,",
        "broken",
    ]
    answer = await send(client, "text/csv; charset=utf-8", lines)
    assert answer.status_code == 200
    summary = answer.json()
    assert summary["statuses"] == {"accepted": 11, "rejected": 2, "unknown": 1}
    assert [(each["line"], each["status"]) for each in summary["problems"]] == [
        (13, "rejected"),
        (14, "unknown"),
        (15, "rejected"),
    ]
    assert all(problem["detail"] for problem in summary["problems"])
    assert monitored.sums().labeled.total == 11
    assert monitored.rows("SELECT count(*) FROM feedback WHERE source = 'audit'") == [(1,)]

    again = [
        json.dumps({"prediction_id": named(number), "label": "pneumonia"}) for number in range(12)
    ]
    summary = (await send(client, "application/x-ndjson", again)).json()
    assert summary["statuses"] == {"accepted": 1, "corrected": 1, "unchanged": 10}
    assert summary == {
        "rows": 12,
        "statuses": summary["statuses"],
        "problems": [],
        "problems_left_out": 0,
    }
    rejected = {"reason": "invalid"}
    assert monitored.registry.get_sample_value("candor_feedback_rejected_total", rejected) == 1


async def test_rows_keep_their_order_over_portions(
    client: httpx.AsyncClient, monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of several words on one answer stands, however the body is cut."""
    monkeypatch.setattr(table_upload, "PORTION_BYTES", 200)
    words = ["normal" if turn % 2 else "pneumonia" for turn in range(40)]
    lines = [json.dumps({"prediction_id": named(3), "label": word}) for word in words]

    async def pieces() -> AsyncIterator[bytes]:
        for line in lines:
            yield line[:30].encode()
            yield line[30:].encode() + b"\n"

    answer = await client.post(
        "/feedback", content=pieces(), headers={"content-type": "application/x-ndjson"}
    )
    assert answer.json()["statuses"] == {"accepted": 1, "corrected": 39}
    assert monitored.rows("SELECT label, revision FROM prediction WHERE revision > 0") == [(0, 39)]


async def test_a_table_beyond_the_limit_and_one_that_stalls_keep_what_came(
    client: httpx.AsyncClient, monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        json.dumps({"prediction_id": named(number), "label": "normal"}) for number in range(20)
    ]
    monkeypatch.setattr(table_upload, "PORTION_BYTES", 100)
    monkeypatch.setattr(table_upload, "TABLE_LIMIT_BYTES", 1000)
    answer = await send(client, "application/x-ndjson", lines[:5])
    assert answer.status_code == 200
    answer = await send(client, "application/x-ndjson", lines)
    assert (answer.status_code, answer.json()["error"]) == (413, "body_too_large")
    monkeypatch.setattr(request_module, "STALL_S", 0.05)

    async def stalls() -> AsyncIterator[bytes]:
        yield lines[10].encode() + b"\n"
        await asyncio.Event().wait()

    answer = await client.post(
        "/feedback", content=stalls(), headers={"content-type": "application/x-ndjson"}
    )
    assert (answer.status_code, answer.json()["error"]) == (408, "body_timeout")
    monkeypatch.undo()
    assert (await send(client, "application/x-ndjson", lines)).json()["rows"] == 20
    assert monitored.sums().labeled.total == 20


async def test_only_so_many_problems_are_told(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_upload, "PROBLEMS_SHOWN", 3)
    summary = (await send(client, "application/x-ndjson", ["{"] * 10)).json()
    assert (len(summary["problems"]), summary["problems_left_out"]) == (3, 7)
    assert summary["statuses"] == {"rejected": 10}


async def test_a_table_of_rejected_rows_ends_early_and_keeps_what_was_valid(
    client: httpx.AsyncClient, monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 MB of rows of four bytes kept the server busy for minutes."""
    monkeypatch.setattr(table_upload, "REJECTED_LIMIT", 3)
    monkeypatch.setattr(table_upload, "PORTION_ROWS", 2)
    lines = [
        "prediction_id,label",
        f"{named(0)},normal",
        "a,b",
        "c,d",
        "e,f",
        "g,h",
        *["i,j"] * 100_000,
    ]
    answer = await send(client, "text/csv", lines)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_table")
    assert "line 3" in answer.json()["detail"]
    assert monitored.sums().labeled.total == 1
