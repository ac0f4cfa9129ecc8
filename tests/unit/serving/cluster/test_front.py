"""What a client of Ray's proxies gets: its own request id, and JSON where no replica answered."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serving.cluster.front import FrontMiddleware, middlewares, unmarked

pytestmark = pytest.mark.anyio
MADE_BY_RAY = (b"x-request-id", b"6d0e2a53-0000-4000-8000-000000000000")


def as_ray_does(status: int, *headers: tuple[bytes, bytes], seen: list[Scope] | None = None) -> Any:
    """Ray's middleware of request ids around an answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sent = list(scope["headers"])
        if not any(name == b"x-request-id" for name, _ in sent):
            sent.append(MADE_BY_RAY)
        if seen is not None:
            seen.append(scope | {"headers": sent})
        await send(
            {"type": "http.response.start", "status": status, "headers": [*headers, MADE_BY_RAY]}
        )
        await send({"type": "http.response.body", "body": b"Internal Server ", "more_body": True})
        await send({"type": "http.response.body", "body": b"Error"})

    return app


async def ask(app: Any, path: str, *headers: tuple[bytes, bytes]) -> list[Message]:
    got: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        got.append(message)

    await FrontMiddleware(app)(
        {"type": "http", "path": path, "headers": list(headers)}, receive, send
    )
    return got


@pytest.mark.parametrize(
    "own",
    [
        [],
        [(b"x-request-id", b"scan-7")],
        [(b"x-request-id", b"2f1d9a52-0c5b-4a3e-9d1c-3f2a6b7c8d9e")],
    ],
)
async def test_a_replica_sees_the_headers_that_the_client_sent(
    own: list[tuple[bytes, bytes]],
) -> None:
    seen: list[Scope] = []
    sent = [(b"host", b"a"), (b"x-candor-front", b"client"), *own]
    await ask(as_ray_does(200, (b"x-candor-replica", b"yes"), seen=seen), "/predictions/m", *sent)
    assert unmarked(seen[0]["headers"]) == [(b"host", b"a"), *own]


async def test_the_answer_of_a_replica_is_passed_on_without_the_marks() -> None:
    got = await ask(as_ray_does(500, (b"x-candor-replica", b"yes"), (b"a", b"b")), "/predictions/m")
    assert (got[0]["status"], got[0]["headers"]) == (500, [(b"a", b"b")])
    assert b"".join(each["body"] for each in got[1:]) == b"Internal Server Error"


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_where_no_replica_answered_the_client_gets_json(status: int) -> None:
    start, body = await ask(as_ray_does(status), "/predictions/m")
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert json.loads(body["body"])["error"] == "replica_lost"


@pytest.mark.parametrize(
    "error", [KeyError("the replica's node is gone"), asyncio.CancelledError(), None]
)
async def test_where_the_proxy_itself_fails_the_client_gets_json_too(
    error: BaseException | None,
) -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        if error is not None:
            raise error

    start, body = await ask(fails, "/predictions/m")
    assert (start["status"], json.loads(body["body"])["error"]) == (503, "replica_lost")


async def test_an_answer_that_breaks_off_is_not_completed() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"x-candor-replica", b"yes")],
            }
        )
        raise KeyError("the replica's node is gone")

    with pytest.raises(KeyError):
        await ask(fails, "/predictions/m")


async def test_the_paths_of_ray_itself_are_left_alone() -> None:
    got = await ask(as_ray_does(200), "/-/healthz")
    assert (got[0]["status"], len(got)) == (200, 3)


def test_a_request_that_bypassed_the_front_is_recognized() -> None:
    assert unmarked([(b"host", b"a"), MADE_BY_RAY]) is None


def test_ray_finds_the_middleware_by_name() -> None:
    from serving.cluster.engine import FRONT

    module, _, name = FRONT["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].rpartition(".")
    assert (module, name) == (middlewares.__module__, middlewares.__name__)
    assert [each.cls for each in middlewares()] == [FrontMiddleware]
