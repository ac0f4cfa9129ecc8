"""What a client of Ray's proxies gets: its own request id, and JSON where no replica answered."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serving.cluster.engine import PROXIES
from serving.cluster.front import FrontMiddleware, middlewares, unmarked

pytestmark = pytest.mark.anyio
MADE_BY_RAY = (b"x-request-id", b"6d0e2a53-0000-4000-8000-000000000000")
OF_REPLICA = (b"x-candor-replica", b"yes")


def as_ray_does(status: int, *headers: tuple[bytes, bytes], seen: list[Scope] | None = None) -> Any:
    """Ray's middleware of request ids around an answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sent = list(scope["headers"])
        if not any(name == b"x-request-id" for name, _ in sent):
            sent.append(MADE_BY_RAY)
        if seen is not None:
            seen.append(scope | {"headers": sent})
        answered = [*headers, MADE_BY_RAY]
        await send({"type": "http.response.start", "status": status, "headers": answered})
        await send({"type": "http.response.body", "body": b"Internal Server ", "more_body": True})
        await send({"type": "http.response.body", "body": b"Error"})

    return app


def failing(error: BaseException | None, *begun: Message) -> Any:
    """A proxy that fails after these messages, or ends without an answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in begun:
            await send(message)
        if error is not None:
            raise error

    return app


async def ask(app: Any, path: str, *headers: tuple[bytes, bytes]) -> list[Message]:
    got: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        got.append(message)

    scope = {"type": "http", "path": path, "headers": list(headers)}
    await FrontMiddleware(app)(scope, receive, send)
    return got


@pytest.mark.parametrize("own", [[], [(b"x-request-id", b"scan-7")]])
async def test_a_replica_sees_the_headers_that_the_client_sent(
    own: list[tuple[bytes, bytes]],
) -> None:
    seen: list[Scope] = []
    sent = [(b"host", b"a"), (b"x-candor-front", b"client"), *own]
    await ask(as_ray_does(200, OF_REPLICA, seen=seen), "/predictions/m", *sent)
    assert unmarked(seen[0]["headers"]) == [(b"host", b"a"), *own]


async def test_the_answer_of_a_replica_is_passed_on_without_the_marks() -> None:
    got = await ask(as_ray_does(500, OF_REPLICA, (b"a", b"b")), "/predictions/m")
    assert (got[0]["status"], got[0]["headers"]) == (500, [(b"a", b"b")])
    assert b"".join(each["body"] for each in got[1:]) == b"Internal Server Error"


async def test_where_no_replica_answered_the_client_gets_json() -> None:
    for app in [
        *(as_ray_does(status) for status in (404, 500, 503)),
        *(failing(error) for error in (KeyError("the node"), asyncio.CancelledError(), None)),
    ]:
        start, body = await ask(app, "/predictions/m")
        assert start["status"] == 503
        assert (b"retry-after", b"1") in start["headers"]
        assert json.loads(body["body"])["error"] == "replica_lost"


async def test_an_answer_that_breaks_off_is_not_completed() -> None:
    begun = {"type": "http.response.start", "status": 200, "headers": [OF_REPLICA]}
    with pytest.raises(KeyError):
        await ask(failing(KeyError("the node"), begun), "/predictions/m")


async def test_the_paths_of_ray_itself_are_left_alone() -> None:
    got = await ask(as_ray_does(200), "/-/healthz")
    assert (got[0]["status"], len(got)) == (200, 3)


def test_a_request_that_bypassed_the_front_is_recognized() -> None:
    assert unmarked([(b"host", b"a"), MADE_BY_RAY]) is None


def test_ray_finds_the_middleware_by_name() -> None:
    module, _, name = PROXIES["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].rpartition(".")
    assert (module, name) == (middlewares.__module__, middlewares.__name__)
    assert [each.cls for each in middlewares()] == [FrontMiddleware]
