"""One alarm is acknowledged once, by page or API; a malformed form does nothing."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from calibration.drift.state import DriftSettings
from monitoring.drift.tag_settings import TagSettings
from tests.builders.answers import make_row, prediction_id
from tests.builders.monitored import Clock, MonitoredModel, page_client_of

pytestmark = pytest.mark.anyio
PAGE = "/models/pneumonia/report/page?version=1"
SLICES = "/slices/pneumonia"
BROWSER = {"accept": "text/html"}


@pytest.fixture
def monitored(tmp_path: Path) -> Iterator[MonitoredModel]:
    settings = DriftSettings(average_run_length=50)
    with MonitoredModel(
        tmp_path / "ledger.db", Clock(), settings=settings, tags=TagSettings(("site",))
    ) as opened:
        yield opened


@pytest.fixture
async def client(monitored: MonitoredModel, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    production = {"pneumonia": 1}.get
    async with page_client_of(monitored, tmp_path, production=production) as opened:
        yield opened


async def drift(
    client: httpx.AsyncClient, monitored: MonitoredModel, start: int, count: int = 60
) -> None:
    """Answers that are sure and wrong, at one site."""
    numbers = range(start, start + count)
    monitored.serve(
        *(make_row(number, confidence=0.95)._replace(tags='{"site":"B"}') for number in numbers)
    )
    labels = [
        {"prediction_id": str(UUID(bytes=prediction_id(each))), "label": "normal"}
        for each in numbers
    ]
    assert (await client.post("/feedback", json=labels)).status_code == 200


async def forms(client: httpx.AsyncClient) -> list[dict[str, str]]:
    """The forms of the overview and of the slices, with their hidden fields and a note."""
    pages = [(await client.get(path, headers=BROWSER)).text for path in (PAGE, SLICES)]
    found = re.findall(
        r'<form[^>]* action="/models/pneumonia/report/page.*?</form>', "".join(pages), re.DOTALL
    )
    return [
        dict(re.findall(r"type=\"hidden\" name=\"(\w+)\" value='([^']*)'", form))
        | {"note": "lamp replaced"}
        for form in dict.fromkeys(found)
        if 'method="post"' in form
    ]


async def send(client: httpx.AsyncClient, form: dict[str, str]) -> httpx.Response:
    return await client.post(PAGE, data=form, headers=BROWSER)


async def watched(client: httpx.AsyncClient) -> tuple[bool, int]:
    drift = (await client.get("/models/pneumonia/report")).json()["drift"]
    return drift["active"], drift["labels"]


async def acknowledgments(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    events = (await client.get("/models/pneumonia/report/history")).json()["events"]
    return [each for each in events if each["kind"] in ("acknowledged", "reset")]


async def test_a_form_that_two_people_send_restarts_the_watch_once(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    await drift(client, monitored, 0)
    whole, _ = await forms(client)
    answers = await asyncio.gather(*(send(client, whole) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409]
    await drift(client, monitored, 100, count=2)
    before = await watched(client)
    assert before[1] == 2
    late = await send(client, whole | {"note": "again"})
    assert late.status_code == 409
    assert "lamp replaced" in late.text
    assert f'<a href="{PAGE}">Back to the model</a>' in late.text
    assert await watched(client) == before
    assert {each["tag"] for each in await acknowledgments(client)} == {None, "site=B"}
    assert len(await acknowledgments(client)) == 2


async def test_an_old_form_does_not_acknowledge_a_later_alarm(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    await drift(client, monitored, 0)
    old, _ = await forms(client)
    assert (await send(client, old)).status_code == 303
    await drift(client, monitored, 100)
    stale = await send(client, old)
    assert stale.status_code == 409
    assert (await watched(client))[0] is True
    new, _ = await forms(client)
    assert (await send(client, new)).status_code == 303
    assert (await watched(client))[0] is False


async def test_the_alarm_of_a_tag_is_another_alarm(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    await drift(client, monitored, 0)
    _, of_tag = await forms(client)
    assert json.loads(of_tag["alarms"])[0][1] == "site=B"
    assert (await send(client, of_tag)).status_code == 303
    assert (await send(client, of_tag)).status_code == 409
    assert (await watched(client))[0] is True
    assert [each["tag"] for each in await acknowledgments(client)] == ["site=B"]


async def test_the_api_says_that_it_was_done_already(
    client: httpx.AsyncClient, monitored: MonitoredModel
) -> None:
    address = "/models/pneumonia/report/acknowledge"
    none = (await client.post(address)).json()
    assert none["unchanged"]
    await drift(client, monitored, 0)
    named = (await client.get("/models/pneumonia/report")).json()["drift"]["alarm_feedback_id"]
    other = (await client.post(address, json={"alarm": named + 1})).json()
    assert other["drift"]["active"]
    assert other["unchanged"]
    first = (await client.post(address, json={"note": "known", "alarm": named})).json()
    assert (first["drift"], "unchanged" in first) == ({"active": False, "labels": 0}, False)
    await drift(client, monitored, 100, count=2)
    for body in ({}, {"note": "again"}, {"alarm": named}):
        again = await client.post(address, json=body)
        assert (again.status_code, again.json()["drift"]["labels"]) == (200, 2)
        assert "known" in again.json()["unchanged"]
    assert len(await acknowledgments(client)) == 1
    assert (await client.post("/models/pneumonia/report/reset")).json()["drift"]["labels"] == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"note": ""},
        {"note": " "},
        {"alarms": ""},
        {"alarms": "[]"},
        {"alarms": "[[-1, null]]"},
        {"alarms": "[[1]]"},
        {"alarms": f"[[{'9' * 5_000}, null]]"},
    ],
)
async def test_a_malformed_form_restarts_nothing(
    client: httpx.AsyncClient, monitored: MonitoredModel, changed: dict[str, str]
) -> None:
    await drift(client, monitored, 0)
    whole, _ = await forms(client)
    last = whole["alarms"].removesuffix("]") + ',[1,"site=C"]]'
    assert (await send(client, whole | {"alarms": last})).status_code == 404
    assert (await send(client, whole | changed)).status_code == 422
    for body in (b"", b"garbage", b"%ff=1"):
        assert (await client.post(PAGE, content=body, headers=BROWSER)).status_code == 422
    assert (await watched(client))[0] is True
    assert await acknowledgments(client) == []


@pytest.mark.parametrize("by", ["page", "api"])
async def test_chosen_labels_that_are_said_to_be_so_raise_no_second_alarm(
    client: httpx.AsyncClient, monitored: MonitoredModel, by: str
) -> None:
    await drift(client, monitored, 0)
    whole, _ = await forms(client)
    refused = await send(client, whole | {"chosen_labels": "yes"})
    assert refused.status_code == 409  # without an audit nothing would be watched
    assert (await watched(client))[0] is True
    monitored.answer(range(1_000, 1_030), audit=0.5)
    if by == "page":
        assert "chosen_labels" in (await client.get(PAGE, headers=BROWSER)).text
        assert (await send(client, whole | {"chosen_labels": "yes"})).status_code == 303
    else:
        note = {"note": "only errors had labels", "chosen_labels": True}
        path = "/models/pneumonia/report/acknowledge"
        assert (await client.post(path, json=note)).status_code == 200
    await drift(client, monitored, 100, count=100)
    assert await watched(client) == (False, 0)
    monitored.answer(range(2_000, 2_010), audit=0.5)
    assert await watched(client) == (False, 10)
    for event in await acknowledgments(client):
        assert event["detail"]["chosen_labels"] is True
