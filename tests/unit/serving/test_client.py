"""The client against a scripted server."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.client import AsyncClient, Client, RetryPolicy, ServerRefused


def busy() -> httpx.Response:
    body = {"error": "overloaded", "detail": "later."}
    return httpx.Response(429, headers={"Retry-After": "3"}, json=body)


def answer(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


class Script:
    """Answers with `responses` in turn, and keeps the requests."""

    def __init__(self, responses: Sequence[httpx.Response]) -> None:
        self.responses = list(responses)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.responses.pop(0)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []

    monkeypatch.setattr("serving.client.time.sleep", taken.append)
    return taken


def client_of(
    *responses: httpx.Response, attempts: int = 4, token: Any = None
) -> tuple[Client, Script]:
    script = Script(responses)
    retry, transport = RetryPolicy(attempts), httpx.MockTransport(script)
    return Client("http://server", retry=retry, token=token, transport=transport), script


def test_predict_posts_the_bytes(tmp_path: Path) -> None:
    client, script = client_of(answer({"predicted": "a"}))
    (tmp_path / "x.png").write_bytes(b"image")
    assert client.predict(
        tmp_path / "x.png", model="a b", version=2, request_id="mine", tags={"site": "A", "w": "3"}
    ) == {"predicted": "a"}
    [request] = script.requests
    assert (request.method, request.url.raw_path) == ("POST", b"/predictions/a%20b/2")
    assert request.content == b"image"
    assert request.headers["X-Request-Id"] == "mine"
    assert request.headers["X-Candor-Tags"] == "site=A,w=3"


def test_the_only_model_need_not_be_named() -> None:
    client, script = client_of(answer({"models": [{"name": "m"}]}), answer({}))
    client.predict(b"image")
    assert script.requests[1].url.path == "/predictions/m"
    client, _ = client_of(answer({"models": [{"name": "m"}, {"name": "n"}]}))
    with pytest.raises(ServerRefused, match="m, n"):
        client.predict(b"image")


def test_a_retry_has_the_same_key_and_counts_its_attempts(naps: list[float]) -> None:
    client, script = client_of(busy(), busy(), answer({}), busy(), answer({}))
    client.predict(b"image", model="m")
    client.predict(b"image", model="m", idempotency_key="mine")
    sent = [
        (request.headers["Idempotency-Key"], request.headers.get("X-Candor-Attempt"))
        for request in script.requests
    ]
    key = sent[0][0]
    assert sent[:3] == [(key, "1"), (key, "2"), (key, "3")]
    assert sent[3:] == [("mine", None)] * 2  # the caller may have sent it before


def test_patience_ends(naps: list[float]) -> None:
    client, _ = client_of(busy(), busy(), attempts=2)
    with pytest.raises(ServerRefused, match=r"later\. \(429 overloaded\)") as caught:
        client.predict(b"image", model="m")
    assert (caught.value.status, caught.value.code) == (429, "overloaded")
    assert naps == [3.0]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (415, '{"error": "not_an_image", "detail": "no."}'),
        (504, "<html>not_an_image</html>"),  # by something else than a server
    ],
)
def test_any_other_error_is_raised_at_once(naps: list[float], status: int, text: str) -> None:
    client, script = client_of(httpx.Response(status, text=text))
    with pytest.raises(ServerRefused, match="not_an_image"):
        client.predict(b"text", model="m")
    assert (len(script.requests), naps) == (1, [])


def test_feedback_and_calibration_speak_the_monitors_language() -> None:
    accepted = [{"status": "accepted"}]
    client, script = client_of(answer(accepted), answer({"ece": 0.1}))
    assert client.feedback([{"prediction_id": "i", "predicted": "a"}]) == accepted
    assert json.loads(script.requests[0].content) == [{"prediction_id": "i", "predicted": "a"}]
    assert client.calibration("m", window="days:7") == {"ece": 0.1}
    assert script.requests[1].url.query == b"window=days%3A7"


def test_ready_is_false_without_a_server() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with Client("http://server", transport=httpx.MockTransport(refuse)) as client:
        assert client.ready() is False


def test_many_are_answered_in_order_with_refusals_in_their_places(naps: list[float]) -> None:
    refused = httpx.Response(415, json={"error": "not_an_image", "detail": "no."})
    client, script = client_of(
        answer({"models": [{"name": "m"}]}), answer({"predicted": "a"}), refused
    )
    heard: list[tuple[int, int]] = []
    first, second = client.predict_many(
        [b"1", b"2"], connections=1, progress=lambda done, total: heard.append((done, total))
    )
    assert first == {"predicted": "a"}
    assert isinstance(second, ServerRefused)
    assert heard == [(1, 2), (2, 2)]
    assert [request.content for request in script.requests[1:]] == [b"1", b"2"]


def test_methods_are_coroutines_too(naps: list[float]) -> None:
    refused = httpx.Response(415, json={"error": "not_an_image", "detail": "no."})
    script = Script([busy(), answer({"predicted": "a"}), answer({}), refused, answer({})])

    async def asked() -> list[Any]:
        transport = httpx.MockTransport(script)
        async with AsyncClient("http://server", token="word", transport=transport) as client:
            first = await client.predict(b"image", model="m", tags={"site": "A"})
            many = client.predict_many([b"x"] * 3, model="m", connections=1)
            return [first, *[answer async for answer in many]]

    first, *many = asyncio.run(asked())
    assert first == {"predicted": "a"}
    assert [isinstance(each, ServerRefused) for each in many] == [False, True, False]
    assert naps == [3.0]
    assert {request.headers["Authorization"] for request in script.requests} == {"Bearer word"}


def test_whoever_stops_early_gets_no_error() -> None:
    async def first() -> Any:
        script = Script([answer({"predicted": "a"})] * 9)
        transport = httpx.MockTransport(script)
        async with AsyncClient("http://server", transport=transport) as client:
            async for one in client.predict_many([b"x"] * 9, model="m", connections=2):
                return one
        return None

    assert asyncio.run(first()) == {"predicted": "a"}


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")} - {"close", "aclose"}

    assert methods(AsyncClient) == methods(Client)
