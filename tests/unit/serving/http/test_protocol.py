"""The hot route's way past ASGI's messages: bodies that have come, answers in one write."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from serving.errors import ClientGone
from serving.http import connection
from serving.http.connection import BoundedProtocol
from serving.http.fast_path import FastPath, take_fast_path
from tests.builders.pipes import POST, Pipe

App = Callable[[Scope, Receive, Send], Awaitable[None]]


def connected(
    app: App, pipe: Pipe | None = None, kind: type[BoundedProtocol] = BoundedProtocol
) -> BoundedProtocol:
    """A connection that has been made, on the running loop."""
    config = uvicorn.Config(app, http=kind, ws="none", lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    protocol = kind(config=config, server_state=state, app_state={})
    protocol.connection_made(pipe or Pipe())
    return protocol


def heard(
    app: App, *parts: bytes, paused: bool = False, protocol: type[BoundedProtocol] = BoundedProtocol
) -> Pipe:
    """What a connection writes that receives `parts`, the loop turning between them."""

    async def talk() -> Pipe:
        pipe = Pipe()
        made = connected(app, pipe, protocol)
        if paused:
            made.pause_writing()
        for part in parts:
            made.data_received(part)
            for _ in range(5):
                await asyncio.sleep(0)
        made.connection_lost(ConnectionResetError())
        return pipe

    return asyncio.run(talk())


def answering(
    *, close: bool = False, bodies: list[bytes | None] | None = None, done: list[bool] | None = None
) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fast_path = take_fast_path(scope)
        assert isinstance(fast_path, FastPath)
        body = fast_path.body()
        if bodies is not None:
            bodies.append(body)
        answered = fast_path.answer(b"{}", media_type=b"application/json", close=close)
        if done is not None:
            done.append(answered)

    return app


def test_a_body_that_has_come_is_there_at_once_and_the_answer_leaves_in_one_write() -> None:
    bodies: list[bytes | None] = []
    pipe = heard(answering(bodies=bodies), POST + b"ping")
    assert bodies[0] == b"ping"
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ndate: "
        b"today\r\n\r\n"
    )
    assert pipe.written == [head + b"{}"]
    assert not pipe.closed


def test_a_body_that_still_comes_is_left_to_receive() -> None:
    bodies: list[bytes | None] = []
    heard(answering(bodies=bodies), POST + b"pi")
    assert bodies == [None]


@pytest.mark.parametrize(("version", "close"), [(b"1.1", True), (b"1.0", False)])
def test_the_last_answer_of_a_connection_says_so_and_closes(version: bytes, close: bool) -> None:
    pipe = heard(answering(close=close), POST.replace(b"1.1", version) + b"ping")
    assert b"connection: close\r\n\r\n{}" in pipe.written[0]
    assert pipe.closed


def test_a_client_that_reads_too_slowly_is_left_to_send() -> None:
    done: list[bool] = []
    heard(answering(done=done), POST + b"ping", paused=True)
    assert done == [False]


CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_many_chunks_are_parsed_in_turns_and_nothing_is_read_meanwhile() -> None:
    async def talk() -> None:
        pipe = Pipe()
        protocol = connected(answering(), pipe)
        protocol.data_received(CHUNKED + b"1\r\na\r\n" * 40_000)
        protocol.data_received(b"1\r\na\r\n")  # was on its way
        assert pipe.paused
        assert len(protocol.cycle.body) < 1000
        for _ in range(5):
            protocol.flow.resume_reading()  # as a reader of the body does
            assert pipe.paused
            await asyncio.sleep(0)
        while pipe.paused:
            await asyncio.sleep(0)
        protocol.data_received(b"1\r\na\r\n")  # has had its share, so it waits for its turn
        assert pipe.paused
        protocol.connection_lost(None)

    asyncio.run(talk())


def test_requests_that_do_not_wait_are_parsed_one_by_one() -> None:
    async def talk() -> None:
        pipe = Pipe()
        protocol = connected(answering(), pipe)
        protocol.data_received((POST + b"ping") * 1000)
        assert (pipe.paused, pipe.written) == (True, [])
        assert not protocol.pipeline
        while pipe.paused:
            await asyncio.sleep(0)
            assert not protocol.pipeline
        await asyncio.sleep(0)
        assert len(pipe.written) == 1000
        protocol.connection_lost(None)

    asyncio.run(talk())


def test_empty_lines_are_parsed_at_once_and_are_no_request() -> None:
    """Four bytes at a time, 64 KiB of them took 50 ms of the event loop."""
    fed: list[int] = []

    class Counted(BoundedProtocol):
        def _feed(self, data: bytes) -> None:
            fed.append(len(data))
            super()._feed(data)

    pipe = heard(answering(), b"\r\n" * 30_000 + POST + b"ping", protocol=Counted)
    assert pipe.written[0].startswith(b"HTTP/1.1 200")
    assert len(fed) < 100
    assert heard(answering(), b"\r\n" * 40_000).written[0].startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "framing",
    [
        b"0\r\n" + b"a:b\r\n" * 20_000,
        b"0\r\na: " + b"b" * 100_000,
        b"1;a=" + b"b" * 100_000,
        b"1" + b";a=b" * 20_000,
    ],
)
def test_what_frames_a_body_is_bounded(framing: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0)

    async def talk() -> None:
        pipe = Pipe()
        protocol = connected(answering(), pipe)
        protocol.data_received(CHUNKED + framing)
        while not pipe.closed:
            await asyncio.sleep(0)
        assert pipe.written[-1].startswith(b"HTTP/1.1 431")
        assert len(protocol.headers) == 2
        while not pipe.aborted:  # TLS would decrypt for 30 s what comes after the refusal
            await asyncio.sleep(0)
        protocol.connection_lost(None)

    asyncio.run(talk())


@pytest.mark.parametrize(
    "head",
    [
        b"GET /\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n",
        b"GET / HTTP/1.1\r\nHost: a:80:b\r\n",
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\n",
        b"GET http://a@b/ HTTP/1.1\r\nHost: a\r\n",
        b"GET http://a/ HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_heads_that_others_might_read_otherwise_are_refused(head: bytes) -> None:
    pipe = heard(answering(), head + b"\r\n")
    assert (pipe.closed, pipe.written[0][:12]) == (True, b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("target", "name", "value", "status"),
    [(9_000, b"A", 1, 431), (1, b"A", 9_000, 431), (1, b"Cookie", 9_000, 200)],
)
def test_a_target_and_headers_are_bounded(
    target: int, name: bytes, value: int, status: int
) -> None:
    head = b"GET /%b HTTP/1.1\r\nHost: a\r\n%b: %b\r\n\r\n"
    pipe = heard(answering(), head % (b"a" * target, name, b"a" * value))
    assert pipe.written[0].startswith(b"HTTP/1.1 %d" % status)


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://A:80/ HTTP/1.1\r\nHost: a:80\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n",
        b"GET / HTTP/1.0\r\n",
    ],
)
def test_heads_that_all_read_alike_are_answered(head: bytes) -> None:
    pipe = heard(answering(), head + b"\r\n")
    assert pipe.written[0].startswith(b"HTTP/1.1 200")


def asked(scope: Scope) -> tuple[FastPath, "asyncio.Future[bytes]"]:
    """A request's fast_path, and an answer that does not come."""
    fast_path = take_fast_path(scope)
    assert fast_path is not None
    return fast_path, asyncio.get_running_loop().create_future()


def test_what_is_awaited_for_a_client_that_goes_is_cancelled() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fast_path, answer = asked(scope)
        for _ in range(2):  # the second time it has gone before anything is awaited
            try:
                await fast_path.wait(answer)
            except ClientGone as error:
                told.append(f"{error} {answer.cancelled()}")
        await asyncio.sleep(0)  # the task itself goes on
        told.append("done")

    async def talk() -> None:
        protocol = connected(app)
        protocol.data_received(POST + b"ping")
        for turn in range(10):
            if turn == 5:
                assert told == []
                protocol.connection_lost(None)
            await asyncio.sleep(0)

    asyncio.run(talk())
    gone = "the client disconnected before its answer was ready. True"
    assert told == [gone, gone, "done"]


def test_the_work_for_a_client_that_is_gone_is_never_begun(
    recwarn: pytest.WarningsRecorder,
) -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fast_path, _ = asked(scope)
        fast_path._cycle.disconnected = True

        async def work() -> None:
            told.append("begun")

        with pytest.raises(ClientGone):
            await fast_path.wait(work())
        gc.collect()
        told.append("gone")

    heard(app, POST + b"ping")
    assert (told, list(recwarn)) == (["gone"], [])


def test_an_answer_that_is_cancelled_by_others_is_not_the_clients_doing() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fast_path, answer = asked(scope)
        asyncio.get_running_loop().call_soon(answer.cancel)
        try:
            await fast_path.wait(answer)
        except asyncio.CancelledError:
            told.append("cancelled")
        fast_path.answer(b"{}", media_type=b"application/json", close=False)

    heard(app, POST + b"ping")
    assert told == ["cancelled"]


def test_a_request_leaves_no_circle_behind() -> None:
    cycles: list[weakref.ref[Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fast_path = take_fast_path(scope)
        cycles.append(weakref.ref(fast_path._cycle))
        fast_path.answer(b"{}", media_type=b"application/json", close=False)

    async def talk() -> None:
        protocol = connected(app)
        for _ in range(3):
            protocol.data_received(POST + b"ping")
            for _ in range(5):
                await asyncio.sleep(0)
        # the last is still the connection's
        assert [cycle() is None for cycle in cycles] == [True, True, False]

    gc.collect()
    gc.disable()
    try:
        asyncio.run(talk())
    finally:
        gc.enable()


async def leaves_fast_path(scope: Scope, receive: Receive, send: Send) -> None:
    """As every route but that of predictions."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body"})


@pytest.mark.parametrize(
    "received", [b"", POST, POST + b"ping", b"no HTTP", CHUNKED + b"0\r\n" + b"a:b\r\n" * 20_000]
)
@pytest.mark.parametrize("app", [answering(), leaves_fast_path])
def test_a_connection_that_is_lost_is_gone_without_the_garbage_collector(
    app: App, received: bytes
) -> None:
    """TLS buffers 768 KiB for each that receives more than is parsed."""

    async def talk() -> None:
        protocol = connected(app)
        protocol.data_received(received)
        for _ in range(5):
            await asyncio.sleep(0)
        protocol.connection_lost(ConnectionResetError())
        lost = weakref.ref(protocol)
        del protocol
        for _ in range(5):
            await asyncio.sleep(0)
        assert lost() is None

    gc.collect()
    gc.disable()
    try:
        asyncio.run(talk())
    finally:
        gc.enable()
