"""Requests that are answered without a task: which are offered, in which order answers leave, and
who may leave.
"""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from serving.http.direct_exchange import DirectExchange
from serving.http.protocol import BoundedProtocol, take_fast_path
from tests.builders.pipes import POST, Pipe

HEAD = POST.replace(b"/m ", b"/tiny ")
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ndate: today\r\n\r\n[]"
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def answering(bodies: list[bytes | None] | None = None) -> App:
    """Answers {} on the fast path."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fast_path = take_fast_path(scope)
        assert fast_path is not None
        body = fast_path.body()
        if bodies is not None:
            bodies.append(body)
        fast_path.answer(b"{}", media_type=b"application/json", close=False)

    return app


class Lane:
    """Takes what it is told to, and answers when it is told to."""

    def __init__(self, *, takes: bool = True, at_once: bool = True) -> None:
        self._takes, self._at_once = takes, at_once
        self.offered: list[tuple[str, bytes]] = []
        self.exchanges: list[DirectExchange] = []
        self.left: list[str] = []

    def take(
        self, exchange: DirectExchange, path: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> bool:
        self.offered.append((path, body))
        if self._takes:
            self.exchanges.append(exchange)
            exchange.left = lambda: self.left.append(path)
            if self._at_once:
                asyncio.get_running_loop().call_soon(self.answer)
        return self._takes

    def answer(self, *, close: bool = False) -> None:
        self.exchanges.pop(0).answer(b"[]", close=close)


async def connected(lane: Lane, app: App | None = None) -> tuple[BoundedProtocol, Pipe]:
    config = uvicorn.Config(
        app or answering(), http=BoundedProtocol, ws="none", lifespan="off", log_config=None
    )
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    pipe = Pipe()
    protocol = BoundedProtocol(config=config, server_state=state, app_state={}, lane=lane)
    protocol.connection_made(pipe)
    return protocol, pipe


async def turn(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


def run(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


def test_a_request_that_arrives_whole_is_answered_in_one_write_and_the_connection_lives_on() -> (
    None
):
    async def scene() -> None:
        lane = Lane()
        protocol, pipe = await connected(lane)
        for _ in range(3):
            protocol.data_received(HEAD + b"ping")
            await turn()
        assert lane.offered == [("/predictions/tiny", b"ping")] * 3
        assert pipe.written == [ANSWER] * 3
        assert not pipe.closed
        protocol.connection_lost(None)
        assert lane.left == []

    run(scene)


@pytest.mark.parametrize(
    "pieces",
    [[HEAD + b"pi", b"ng"], [HEAD, b"ping"]],
    ids=["in two pieces", "head first"],
)
def test_a_body_that_is_still_on_its_way_goes_the_usual_way_whole(pieces: list[bytes]) -> None:
    bodies: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        bodies.append(body)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
        )
        await send({"type": "http.response.body", "body": b""})

    async def scene() -> None:
        lane = Lane()
        protocol, pipe = await connected(lane, app)
        for piece in pieces:
            protocol.data_received(piece)
            await turn()
        assert lane.offered == []
        assert b"".join(pipe.written).startswith(b"HTTP/1.1 200")
        protocol.data_received(HEAD + b"ping")  # and the next one is offered
        await turn()
        assert len(lane.offered) == 1
        assert not pipe.closed
        protocol.connection_lost(None)

    run(scene)
    assert bodies == [b"ping"]


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"POST", b"GET"),
        HEAD.replace(b"/tiny", b"/tiny?explain=occlusion"),
        HEAD.replace(b"/tiny", b"/t%69ny"),
        HEAD.replace(b"/predictions", b"/feedback"),
    ],
    ids=["not a POST", "a query", "an escape", "another path"],
)
def test_what_is_unusual_is_not_offered(head: bytes) -> None:
    async def scene() -> None:
        lane = Lane()
        protocol, pipe = await connected(lane)
        protocol.data_received(head + b"ping")
        await turn()
        assert lane.offered == []
        assert len(pipe.written) == 1
        protocol.connection_lost(None)

    run(scene)


def test_what_the_lane_does_not_take_goes_the_usual_way_with_its_body() -> None:
    async def scene() -> None:
        bodies: list[bytes | None] = []
        lane = Lane(takes=False)
        protocol, pipe = await connected(lane, answering(bodies))
        protocol.data_received(HEAD + b"ping")
        await turn()
        assert (len(lane.offered), bodies, len(pipe.written)) == (1, [b"ping"], 1)
        protocol.connection_lost(None)

    run(scene)


def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def scene() -> None:
        lane = Lane(at_once=False)
        protocol, pipe = await connected(lane)
        protocol.data_received((HEAD + b"ping") * 3)
        await turn()
        assert (len(lane.offered), pipe.written) == (
            1,
            [],
        )  # the second waits for the answer to the first
        lane.answer()
        await turn(20)
        assert [written[-2:] for written in pipe.written] == [b"[]", b"{}", b"{}"]
        protocol.connection_lost(None)

    run(scene)


@pytest.mark.parametrize(("version", "close"), [(b"1.1", True), (b"1.0", False)])
def test_the_last_answer_of_a_connection_says_so_and_closes(version: bytes, close: bool) -> None:
    async def scene() -> None:
        lane = Lane(at_once=False)
        protocol, pipe = await connected(lane)
        protocol.data_received(HEAD.replace(b"1.1", version) + b"ping")
        lane.answer(close=close)
        assert pipe.written[0].endswith(b"connection: close\r\n\r\n[]")
        assert pipe.closed

    run(scene)


def test_a_shutdown_waits_for_the_answer_and_closes_with_it() -> None:
    async def scene() -> None:
        lane = Lane(at_once=False)
        protocol, pipe = await connected(lane)
        protocol.data_received(HEAD + b"ping")
        protocol.shutdown()
        assert not pipe.closed
        lane.answer()
        assert pipe.closed

    run(scene)


def test_a_client_that_leaves_is_told_of_once_and_gets_nothing() -> None:
    async def scene() -> None:
        lane = Lane(at_once=False)
        protocol, pipe = await connected(lane)
        protocol.data_received(HEAD + b"ping")
        protocol.connection_lost(ConnectionResetError())
        assert lane.left == ["/predictions/tiny"]
        lane.answer()
        assert (pipe.written, len(lane.left)) == ([], 1)

    run(scene)


def test_a_request_leaves_no_circle_behind() -> None:
    async def scene() -> None:
        lane = Lane()
        protocol, _ = await connected(lane)
        exchanges: list[weakref.ref[Any]] = []
        for _ in range(3):
            protocol.data_received(HEAD + b"ping")
            exchanges.append(weakref.ref(lane.exchanges[0]))
            await turn()
        assert [exchange() is None for exchange in exchanges] == [
            True,
            True,
            False,
        ]  # the last is the connection's

    gc.collect()
    gc.disable()
    try:
        run(scene)
    finally:
        gc.enable()
