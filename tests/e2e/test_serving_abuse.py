"""Clients that behave badly on purpose: each is bounded, others are answered."""

import contextlib
import itertools
import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.bundles import png, publish_tiny
from tests.builders.processes import PATIENCE_S
from tests.builders.servers import Server

SERVE = (
    "from serving.http.connection import BoundedProtocol as P; P.head_timeout_s = P.unread_s = {}; "
    "from serving.process.server import serve; from serving.settings import load_settings; "
    "raise SystemExit(serve(load_settings()))"
)


class Abused(Server):
    """A server that waits for clients as long as tests do, and raw connections to it."""

    code = SERVE.format(PATIENCE_S)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def say(self, *parts: bytes, close_writing: bool = False) -> bytes:
        """What the server answers to `parts`, sent one by one, until it closes the connection."""
        with self.connect() as connection:
            with contextlib.suppress(OSError):
                for part in parts:
                    connection.sendall(part)
                if close_writing:
                    connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def answers(self, image: bytes) -> bool:
        return self.predict(image).status_code == 200


class Hasty(Abused):
    """A server that waits for heads, and for who reads, for two seconds."""

    code = SERVE.format(2.0)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            answer += part
    return answer


def running(kind: type[Abused], folder: Path) -> Iterator[Abused]:
    store = publish_tiny(folder / "store")
    started = kind(store.root, folder, body_timeout_s=PATIENCE_S, max_body_bytes=1_000_000)
    yield started.await_ready()
    assert started.end() == 0
    started.stop()
    assert '"trace"' not in started.log()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Abused]:
    yield from running(Abused, tmp_path_factory.mktemp("abuse"))


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Abused]:
    yield from running(Hasty, tmp_path_factory.mktemp("hasty"))


def post(image: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [b"POST /predictions/tiny HTTP/1.1", b"Host: x", *headers]
    lines.append(b"Content-Length: %d" % (len(image) if length is None else length))
    return b"\r\n".join(lines) + b"\r\n\r\n" + image


ANSWERED = b"POST /nowhere HTTP/1.1\r\nHost: a\r\n"  # before its body has come


def test_clients_that_neither_send_nor_read_are_let_go_and_others_are_answered(
    hasty: Abused,
) -> None:
    ends = {
        b"POST /predictions/tiny HTTP/1.1\r\nHost:": b"HTTP/1.1 408 ",
        ANSWERED + b"Content-Length: 60000000\r\n\r\na": b"HTTP/1.1 404 ",
        ANSWERED + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n": b"HTTP/1.1 404 ",
        b"": b"",
    }
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(hasty.connect()) for _ in ends]
        for connection, sent in zip(connections, ends, strict=True):
            connection.sendall(sent)
        with hasty.connect() as unread, pytest.raises(ConnectionError):
            unread.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 500_000)
        assert hasty.answers(png())
        for connection, answer in zip(connections, ends.values(), strict=True):
            assert read_all(connection)[: len(answer) or None] == answer
    assert hasty.answers(png())


def test_a_head_that_comes_in_one_piece_is_bounded_too(server: Abused) -> None:
    answer = server.say(
        b"GET /ping HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"x" * 70_000 + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert server.answers(png())


UPGRADES = [
    (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ),
    (b"Connection: Upgrade", b"Upgrade: websocket"),
    (b"Connection: keep-alive, upgrade", b"Upgrade: anything"),
]


@pytest.mark.parametrize("headers", UPGRADES)
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_a_request_to_upgrade_is_answered_as_the_request_that_it_is(
    server: Abused, headers: tuple[bytes, ...], pieces: int
) -> None:
    """As `curl --http2` sends it. The body was once ignored, or executed as a request."""
    request = post(png(), *headers, b"X-Request-Id: upgraded")
    head = request.index(b"\r\n\r\n") + 4
    cuts = (
        [0, head, *(head + n * 7 for n in range(1, pieces - 1)), len(request)]
        if pieces > 1
        else [0, len(request)]
    )
    parts = [request[start:end] for start, end in itertools.pairwise(cuts)]
    last = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    first, second = server.say(*parts, last).split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200 ")
    assert json.loads(first.partition(b"\r\n\r\n")[2])["request_id"] == "upgraded"
    assert second.startswith(b"200 ")


def test_a_body_that_looks_like_a_request_is_none(server: Abused) -> None:
    smuggled = b"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    request = post(smuggled, *UPGRADES[1], b"Connection: close")
    head = request.index(b"\r\n\r\n") + 4
    answer = server.say(request[:head], request[head:])
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"not_an_image" in answer


def test_connect_is_refused(server: Abused) -> None:
    assert server.say(b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert server.answers(png())


def test_a_client_that_is_refused_while_it_sends_can_read_why(server: Abused) -> None:
    answer = server.say(post(bytes(20_000_000), b"Connection: close"), close_writing=True)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer
    assert server.answers(png())


def test_a_body_longer_than_it_says_ends_the_connection(server: Abused) -> None:
    answer = server.say(post(png() + b"\x00rubbish", length=len(png())))
    assert answer.count(b"HTTP/1.1 200 ") <= 1
    assert server.answers(png())


def test_pipelined_requests_are_answered_in_order(server: Abused) -> None:
    numbered = [post(png(), b"X-Request-Id: %d" % number) for number in range(20)]
    last = post(png(), b"X-Request-Id: 20", b"Connection: close")
    answers = server.say(b"".join(numbered) + last).split(b"HTTP/1.1 ")[1:]
    assert [json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"] for answer in answers] == [
        str(number) for number in range(21)
    ]


def test_chunked_bodies_are_read_and_bounded(server: Abused) -> None:
    head = (
        b"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: "
        b"close\r\n\r\n"
    )
    image = png()
    pieces = [
        b"%x\r\n%s\r\n" % (len(image[at : at + 7]), image[at : at + 7])
        for at in range(0, len(image), 7)
    ]
    assert server.say(head, b"".join(pieces), b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    big = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = server.say(head, *(big for _ in range(40)))
    assert answer.startswith(b"HTTP/1.1 413 ") or answer == b""
    assert server.say(head, b"zz\r\n").startswith(b"HTTP/1.1 400 ")
    assert server.answers(image)


RUBBISH = [
    b"\x16\x03\x01\x02\x00\x01",
    b"GET\r\n\r\n",
    b"\x00" * 100,
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /\xff HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_is_no_http_is_told_so(hasty: Abused, rubbish: bytes) -> None:
    answer = hasty.say(rubbish)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] in (
        "malformed_http",
        "head_timeout",
    )


@pytest.mark.parametrize("most", [2_000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_thousands_of_idle_connections_cost_little(server: Abused, most: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(most, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        before_mb = server.memory_mb
        with contextlib.ExitStack() as idle:
            for _ in range(count):  # one that has asked once may stay silent for long
                connection = idle.enter_context(server.connect())
                connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
            assert server.answers(png())
            assert server.memory_mb - before_mb < 20 * count / 1000  # 20 KB a connection
        assert server.answers(png())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
