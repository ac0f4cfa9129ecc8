"""What a report asks for counts once it is done; what was not tried is not offered. Over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, client_of

pytestmark = pytest.mark.anyio
DATABASES = BOTH_DATABASES
CLASSES = ["healthy", "mild", "severe"]
N = 1_500


@pytest.fixture
async def client(ledger_url: str) -> AsyncIterator[httpx.AsyncClient]:
    with MonitoredModel(ledger_url, Clock()) as monitored:
        async with client_of(monitored) as opened:
            model = {"model": "retina", "version": 3, "classes": CLASSES}
            assert (await opened.post("/models-log", json=model)).status_code == 200
            yield opened


class Eyes:
    """Answers of a calibrated model, one a minute, and the truth."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        logits = self.rng.normal(0, 2.5, (N, 3))
        p = np.exp(logits)
        self.p = p / p.sum(axis=1, keepdims=True)
        self.said = self.p.argmax(axis=1)
        self.truth = (self.rng.random((N, 1)) > self.p.cumsum(axis=1)).sum(axis=1).clip(0, 2)

    async def send(self, client: httpx.AsyncClient, **columns: list[Any]) -> None:
        """Log all answers with these fields of each."""
        items = [
            {
                "model": "retina",
                "request_id": f"eye-{n}",
                "served_at": f"2026-09-{19 + n // 1440}T{n // 60 % 24:02}:{n % 60:02}:00Z",
            }
            | {name: values[n] for name, values in columns.items()}
            for n in range(N)
        ]
        for first in range(0, N, 500):
            answer = await client.post("/predictions-log", json=items[first : first + 500])
            assert {each["status"] for each in answer.json()} == {"accepted"}


async def label(client: httpx.AsyncClient, number: int, name: str, reader: str) -> str:
    item = {"model": "retina", "request_id": f"eye-{number}", "label": name, "reader": reader}
    answer = await client.post("/feedback", json=item)
    return str(answer.json()["status"])


async def diagnosis(client: httpx.AsyncClient) -> Any:
    return (await client.get("/models/retina/report")).json()["diagnosis"]


@pytest.mark.parametrize("errs", ["reader", "model"])
async def test_second_readings_that_were_asked_for_decide(
    client: httpx.AsyncClient, errs: str
) -> None:
    """Reader 9 calls 40 % of the severe cases mild from the middle on; or the model errs there."""
    eyes = Eyes(3)
    own = (np.arange(N) > N // 2) & (eyes.rng.random(N) < 0.5)
    soft = own & (eyes.truth == 2) & (eyes.rng.random(N) < 0.6)
    labels = np.where(soft, 1, eyes.truth)
    readers = np.where(own, "dr-9", "dr-1")
    await eyes.send(client, probabilities=eyes.p.round(6).tolist())
    for n in range(N):
        assert await label(client, n, CLASSES[labels[n]], readers[n]) == "accepted"
    before = await diagnosis(client)
    assert before["state"] == "look"
    asked = before["actions"][0]
    assert (asked["code"], asked["group"]["values"]) == ("second_readings", ["dr-9"])
    assert not [
        each
        for each in before["actions"]
        if each["code"].startswith("recalibrate") and each["available"]
    ]
    accused = [
        n
        for n in np.flatnonzero(own & (eyes.said == 2) & (labels != 2))
        if errs == "model" or soft[n]
    ]
    for n in accused[: asked["labels"]]:
        again = labels[n] if errs == "model" else eyes.truth[n]
        assert await label(client, n, CLASSES[again], "dr-2") == "second_reading"
    after = await diagnosis(client)
    (proxy,) = (each for each in after["rivals"] if each["cause"] == "proxy")
    first = after["actions"][0]["code"]
    if errs == "reader":
        assert (proxy["status"], first) == ("explains_all", "correct_labels")
    else:
        assert proxy["status"] == "ruled_out"
        assert first not in ("second_readings", "correct_labels")


async def test_a_remedy_that_cannot_be_tried_is_not_offered(client: httpx.AsyncClient) -> None:
    """Class and confidence alone are logged, and the model is too sure of everything."""
    eyes = Eyes(4)
    wrong = eyes.rng.random(N) < 0.3
    truth = np.where(wrong, (eyes.said + 1) % 3, eyes.truth)
    await eyes.send(
        client,
        predicted=[CLASSES[each] for each in eyes.said],
        confidence=eyes.p.max(axis=1).round(6).tolist(),
        label=[CLASSES[each] for each in truth],
    )
    found = await diagnosis(client)
    assert found["state"] == "alarm"
    recalibrations = [each for each in found["actions"] if each["code"].startswith("recalibrate")]
    assert recalibrations
    assert {(each["available"], each["hindrance"]) for each in recalibrations} == {
        (False, "untried")
    }
    assert found["actions"][0]["code"] == "find_cause"
