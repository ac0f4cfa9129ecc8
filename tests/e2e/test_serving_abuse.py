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
    "from hosting import exchange, http_server, listener; "
    "exchange.REST_S = 2.0; http_server.HEAD_TIMEOUT_MS = listener.UNREAD_MS = int(1000 * {0}); "
    "from serving.process.server import serve; from hosting.settings import load_settings; "
    "raise SystemExit(serve(load_settings()))"
)


class Abused(Server):
    """A server that waits for heads as long as tests do, and raw connections to it."""

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
        b"POST /predictions/tiny HTTP/1.1\r\nHost:": b"",
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


GET = b"GET /healthz HTTP/1.1\r\n"
REFUSED_HEADS = {
    "CONNECT": b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n",
    "HTTP/0.9": b"GET /healthz\r\n",
    "no host": GET,
    "two hosts": GET + b"Host: a\r\nHost: b\r\n",
    "a host that is no name": GET + b"Host: a/b\r\n",
    "two tokens": GET + b"Host: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    "another transfer encoding": GET + b"Host: a\r\nTransfer-Encoding: gzip, chunked\r\n",
    "another expectation": GET + b"Host: a\r\nExpect: x\r\n",
    "two lengths": GET + b"Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
    "a negative length": GET + b"Host: a\r\nContent-Length: -1\r\n",
    "a folded line": GET + b"Host: a\r\nA: b\r\n c\r\n",
    "a space before the colon": GET + b"Host : a\r\n",
    "a long line": GET + b"Host: a\r\nA: " + 9_000 * b"a" + b"\r\n",
    "many lines": GET + b"Host: a\r\n" + 101 * b"a: b\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "zeros": b"\x00" * 100,
    "no target": b"GET\r\n",
    "another version": b"GET / HTTP/9.9\r\n",
    "a target that is no text": b"POST /\xff HTTP/1.1\r\n",
}


@pytest.mark.parametrize("name", REFUSED_HEADS)
def test_a_head_that_two_programs_could_read_differently_is_refused(
    server: Abused, name: str
) -> None:
    status = b"431" if name in ("a long line", "many lines") else b"400"
    answer = server.say(REFUSED_HEADS[name] + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 %b " % status), answer


def test_of_a_target_with_another_host_the_header_counts(server: Abused) -> None:
    target = b"GET http://a.example/healthz HTTP/1.1\r\nConnection: close\r\nHost: "
    assert server.say(target + b"localhost\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    unknown = target.replace(b"/healthz", b"/models").replace(b"a.example", b"localhost")
    assert b"unknown_host" in server.say(unknown + b"a.example\r\n\r\n")


def test_a_length_beside_chunks_counts_for_nothing_and_the_connection_ends(server: Abused) -> None:
    head = GET + b"Host: a\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = server.say(head + b"0\r\n\r\n" + GET + b"Host: a\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_client_that_is_refused_while_it_sends_can_read_why(server: Abused) -> None:
    answer = server.say(post(bytes(20_000_000), b"Connection: close"), close_writing=True)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer
    assert server.answers(png())


def test_a_body_longer_than_it_says_ends_the_connection(server: Abused) -> None:
    answer = server.say(post(png() + b"\x00rubbish", length=len(png())))
    assert answer.count(b"HTTP/1.1 200 ") <= 1
    assert server.answers(png())


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
