"""A request that is sent again under its idempotency key: one answer, one row."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from monitoring.recording.recorder import Recorder
from tests.builders.bundles import png
from tests.builders.services import Running, ledger_rows, refusal

pytestmark = [pytest.mark.anyio, pytest.mark.world(audit_share=0.5)]
KEY = {"Idempotency-Key": "scan-7"}


def rows(folder: Path) -> int:
    return len(ledger_rows(folder, "SELECT 1 FROM prediction"))


def forget(server: Running) -> None:
    """As if another process had answered."""
    server.service.models.find("tiny", None).retries._recent.clear()


async def test_a_retry_gets_the_recorded_answer(server: Running, tmp_path: Path) -> None:
    for number in range(8):  # drawn for the audit, or not
        image, key = png(number), {"Idempotency-Key": f"scan-{number}"}
        first = await server.predict(image, **key)
        assert first.json()["request_id"] == f"scan-{number}"
        again = await server.predict(image, **key)
        forget(server)
        elsewhere = await server.predict(image, **key)
        assert first.content == again.content == elsewhere.content
    assert rows(tmp_path) == 8


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The request ids of each look into the ledger."""
    found: list[list[str]] = []
    recorded = Recorder.recorded

    def look_up(recorder: Recorder, version: int, request_ids: list[str]) -> Any:
        found.append(request_ids)
        return recorded(recorder, version, request_ids)

    monkeypatch.setattr(Recorder, "recorded", look_up)
    return found


async def test_many_keys_share_a_look_into_the_ledger(
    server: Running, tmp_path: Path, looked_up: list[list[str]]
) -> None:
    keys = [{"Idempotency-Key": f"scan-{number}"} for number in range(40)]
    ids = []
    for _ in range(2):
        answers = await asyncio.gather(*(server.predict(png(), **key) for key in keys))
        ids += [answer.json()["prediction_id"] for answer in answers]
        forget(server)
    assert ids[:40] == ids[40:]
    every = [request_id for looked in looked_up for request_id in looked]
    assert sorted(every) == sorted(2 * [key["Idempotency-Key"] for key in keys])
    assert len(looked_up) < 40
    assert rows(tmp_path) == 40


async def test_a_key_that_is_new_by_its_own_word_is_not_looked_up(
    server: Running, tmp_path: Path, looked_up: list[list[str]]
) -> None:
    first = await server.predict(png(), **KEY, **{"X-Candor-Attempt": "1"})
    assert looked_up == []
    forget(server)
    again = await server.predict(png(), **KEY, **{"X-Candor-Attempt": "2"})
    assert looked_up == [["scan-7"]]
    assert again.content == first.content
    for wrong in ("0", "-1", "one", "1.0", "99999"):
        refused = await server.predict(png(), **KEY, **{"X-Candor-Attempt": wrong})
        assert refusal(refused) == (400, "malformed_request")
    assert rows(tmp_path) == 1


async def test_another_image_under_the_same_key_gets_its_own_answer(
    server: Running, tmp_path: Path
) -> None:
    answers = [await server.predict(png(seed), **KEY) for seed in (1, 2, 1, 2)]
    forget(server)
    answers += [await server.predict(png(seed), **KEY) for seed in (1, 2)]
    ids = [answer.json()["prediction_id"] for answer in answers]
    assert ids[0::2] == [ids[0]] * 3
    assert ids[1::2] == [ids[1]] * 3
    assert rows(tmp_path) == 2


async def test_two_at_once_share_one_answer_and_other_keys_do_not(
    server: Running, tmp_path: Path
) -> None:
    image = png()
    same = await asyncio.gather(*(server.predict(image, **KEY) for _ in range(20)))
    assert len({answer.content for answer in same}) == 1
    mine = KEY | {"X-Request-Id": "mine"}
    ids = {(await server.predict(image, **mine)).json()["prediction_id"] for _ in range(2)}
    ids |= {(await server.predict(image)).json()["prediction_id"] for _ in range(2)}
    assert len(ids) == 3
    assert rows(tmp_path) == 4


async def test_a_client_that_gives_up_finds_its_answer_later(
    server: Running, tmp_path: Path
) -> None:
    image = png()
    await server.predict(image)
    gone = asyncio.ensure_future(server.predict(image, **KEY))
    await asyncio.sleep(0.001)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    ids = {(await server.predict(image, **KEY)).json()["prediction_id"] for _ in range(2)}
    assert len(ids) == 1
    assert rows(tmp_path) == 2


async def test_lists_and_the_open_inference_protocol_too(server: Running, tmp_path: Path) -> None:
    image = base64.b64encode(png()).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2], "data": [image, image]}
    for path, body in (
        ("/predictions/tiny", [image, image, "x"]),
        ("/v2/models/tiny/infer", {"inputs": [tensor]}),
    ):
        before = rows(tmp_path)
        answers: list[Any] = []
        for _ in range(2):
            answers.append(await server.client.post(path, json=body, headers=KEY))
            forget(server)
        assert answers[0].status_code == 200
        assert answers[0].content == answers[1].content
        assert rows(tmp_path) <= before + 2
