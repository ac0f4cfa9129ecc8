"""uvicorn's HTTP protocol with limits: on the size and time of a request head, on what the parser
does in one go, and on the number of connections.

A client that sends its head slowly or without end would hold its connection and its memory forever.
A client whose bytes are much work for the parser (requests without waiting for answers, chunks of
one byte, trailers) would hold the event loop: what it sent is parsed in parts, and takes turns.
Limits on bodies are in request.py, where they are settings.

It ignores `Upgrade`: the request is read as if the header were not there, its body included.
uvicorn's parser ends a request at that header, and would take the body for the next one.
"""

import asyncio
import fcntl
import struct
import termios
import time
from contextlib import suppress
from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from monitoring.http.body_budget import Hold
from monitoring.http.fields import ID_LIMIT
from serving.error_table import ErrorAnswer, error_answer
from serving.errors import HeadTimeout, HeadTooLarge, MalformedHttp, ServingError
from serving.http.fast_path import FAST_PATH, FastPath
from serving.http.reading import HeldFlow, LargeBodyReader, check_head, parsing_turns
from serving.http.request_log import REQUEST_ID, log_request, new_request_id

MAX_HEAD_BYTES: Final = 64 * 1024  # and of what stands in a body in chunks between its bytes
MAX_HEADERS: Final = 200
PART_BYTES: Final = 2048  # of what may hold an event in each six bytes
EVENTS: Final = 128  # headers and parts of a body that a connection may have parsed in one go
# of a head, and of what is left of a body after its answer, which the client shall read too
HEAD_TIMEOUT_S: Final = 10.0
# for which a client may read the last answer: TLS would decrypt what it sends meanwhile for 30 s
LINGER_S: Final = 1.0
BUFFER_BYTES: Final = 64 * 1024  # TLS would keep several times as much for each connection
UNREAD_S: Final = 75.0  # for which a client may read nothing of its answers
MAX_CONNECTIONS: Final = 16_384
_MALFORMED: Final = "this is not a valid HTTP/1.1 request."
_UPGRADE: Final = frozenset({b"upgrade", b"http2-settings"})


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Head too long: 431; head too slow: 408. Both close the connection."""

    head_timeout_s, unread_s = HEAD_TIMEOUT_S, UNREAD_S
    logs_requests = False
    flow: HeldFlow

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, unless there are too many; start its first head's timeout."""
        super().connection_made(transport)
        self.flow = HeldFlow(transport, self.unread_s)
        if transport.get_extra_info("ssl_object") is not None:
            transport.set_write_buffer_limits(BUFFER_BYTES)
            transport.set_read_buffer_limits(BUFFER_BYTES)  # type: ignore[attr-defined]  # uvloop's
        self._turns = parsing_turns(self.loop)
        self._unparsed = memoryview(b"")
        self._waits_for_turn = self._in_body = self._passing_over = False
        self._events = self._body_left = self._framing_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._fast_path: FastPath | None = None
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout, and cancel the request under way."""
        self._head_done()
        self._unparsed = memoryview(b"")
        super().connection_lost(exc)
        if self._fast_path is not None:
            self._fast_path.disconnect()
        self._unset_keepalive_if_required()
        self._leave_no_circle()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived. What is much work waits for its turn, unread by the parser."""
        self._unparsed = memoryview(b"".join((self._unparsed, data)) if self._unparsed else data)
        if self._waits_for_turn:
            return
        if self._events > EVENTS:
            self._wait_for_turn()
        else:
            self.parse()

    def parse(self) -> None:
        """Give the parser some EVENTS events, none of the next request before the answer."""
        self._waits_for_turn = False
        limit = self._events + EVENTS
        while self._unparsed and not self.transport.is_closing() and not self._is_answering():
            if self._events > limit and not self._body_left:
                self._wait_for_turn()
                return
            size = self._next_bytes()
            part, self._unparsed = self._unparsed[:size], self._unparsed[size:]
            self._parse_part(bytes(part))
        if not self.transport.is_closing():
            self.flow.hold(bool(self._unparsed))

    def on_response_complete(self) -> None:
        """Go on with what arrived before the answer."""
        super().on_response_complete()
        self._leave_no_circle()
        if self.transport.is_closing():
            if self.transport.get_extra_info("ssl_object") is not None:
                self._timer = self.loop.call_later(LINGER_S, self._hang_up)
            return
        if self._in_body:
            self._timer = self.loop.call_later(self.head_timeout_s, self.transport.abort)
        if self._unparsed and not self._waits_for_turn:
            self._wait_for_turn()

    def _hang_up(self) -> None:
        """End a connection that is closed over TLS, once the client's system has the answer."""
        self._timer = self.loop.call_later(LINGER_S, self._hang_up)
        with suppress(OSError):  # where the system does not say it, TLS ends it
            number = self.transport.get_extra_info("socket").fileno()
            unsent_bytes = struct.unpack("i", fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)))[0]
            if not unsent_bytes and not self.transport.get_write_buffer_size():
                self.transport.abort()

    def _leave_no_circle(self) -> None:
        """Else what TLS buffers stays until the garbage collector looks, or a timer is over."""
        self._fast_path = None
        if self.scope is not None:
            self.scope["extensions"] = {}

    def _wait_for_turn(self) -> None:
        self._waits_for_turn = True
        self.flow.hold(True)
        self._turns.wait(self)

    def _is_answering(self) -> bool:
        """True if the request is complete, and its answer is not."""
        return self.cycle is not None and not self._in_body and not self.cycle.response_complete

    def _next_bytes(self) -> int:
        """How much the parser gets at once: to the end of a head or of a body, or a small part."""
        if self._in_body:
            return self._body_left or PART_BYTES
        part = bytes(self._unparsed[:PART_BYTES])
        if blank := len(part) - len(part.lstrip(b"\r\n")):
            return blank  # in one go: empty lines before a head are no event
        end = part.find(b"\r\n\r\n")
        return PART_BYTES if end < 0 else end + 4

    def _parse_part(self, part: bytes) -> None:
        self._unset_keepalive_if_required()
        self._framing_bytes += 0 if self._body_left else len(part)
        if self._framing_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge("the head or what frames the body is over 64 KiB."))
            return
        if not self._in_body and self._timer is None:
            self._expect_head()
        self._feed(part)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self.parser.get_method() == b"CONNECT":
                self._refuse(MalformedHttp("CONNECT is not supported here."))
                return
            head = self._head_without_upgrade()
            self._parse_anew()
            self._feed(head + rest)
        except httptools.HttpParserError as error:
            cause = error.__context__  # raised in a callback below
            self._refuse(cause if isinstance(cause, ServingError) else MalformedHttp(_MALFORMED))

    def _parse_anew(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def _head_without_upgrade(self) -> bytes:
        """The head that was just read, without the headers that ask for another protocol."""
        lines = [
            b"%b %b HTTP/%b"
            % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        ]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(
                    each for each in value.split(b",") if each.strip().lower() not in _UPGRADE
                )
            if name not in _UPGRADE:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_message_begin(self) -> None:
        """A new request."""
        self._events = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; of what follows a body in chunks, nothing is kept."""
        self._events += 1
        if self._in_body:
            return
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise HeadTooLarge(f"the head has over {MAX_HEADERS} headers.")

    def on_headers_complete(self) -> None:
        """The head is complete: pass it on, unless refused or read again without `Upgrade`."""
        headers = [name for name, _ in self.headers]
        given = dict(self.headers)
        check_head(headers, given, self.parser.get_http_version(), self.url)
        if self.parser.should_upgrade():
            return
        self._framing_bytes = 0
        self._in_body = True
        if b"content-length" in headers:
            self._body_left = int(self.headers[headers.index(b"content-length")][1])
        self._head_done()
        if self.client is None:  # the process of gRPC, for a client of its own
            self.scope["client"] = (given.get(b"x-forwarded-for", b"").decode("latin-1"), 0)
        super().on_headers_complete()
        self.cycle.keep_alive = (
            self.cycle.keep_alive and self.parser.should_keep_alive()
        )  # older uvicorn does not ask
        if identity := self._identity():
            self.cycle.default_headers = [*self.cycle.default_headers, (REQUEST_ID, identity)]
        self._fast_path = FastPath(self.cycle, self.read_body)
        self.scope["extensions"] = {FAST_PATH: self._fast_path}  # type: ignore[dict-item]  # only take_fast_path reads it

    def on_body(self, body: bytes) -> None:
        self._events += 1
        self._framing_bytes = 0
        self._body_left = max(self._body_left - len(body), 0)
        if not self.parser.should_upgrade() and not self._passing_over:
            if not self.cycle.body and not self.cycle.response_complete:
                self.cycle.body, body = body, b""  # type: ignore[assignment]  # bytes pass uvicorn without a copy
            super().on_body(body)

    async def read_body(self, length_bytes: int, hold: Hold, *, timeout_s: float) -> memoryview:
        """The body, past the parser. Raises BodyTimeout, BodiesFull or ClientGone."""
        cycle = self.cycle
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        begun, cycle.body = cycle.body, bytearray()
        reader = LargeBodyReader(self, begun, length_bytes, hold)
        try:
            await reader.read(timeout_s=timeout_s)
        except BaseException:
            self._pass_over(bytes(reader.give_away()[1]))
            raise
        self._parse_anew()  # the old parser still expects what it did not see
        self._in_body = cycle.more_body = False
        self._body_left = 0
        return reader.give_away()[0]

    def _pass_over(self, part: bytes) -> None:
        """Have the parser see body that nobody wants, so that it finds the next request."""
        if self.parser is not None:
            self._passing_over = True
            self._feed(part)
            self._passing_over = False

    def on_message_complete(self) -> None:
        """The end of the body."""
        if self.parser.should_upgrade():
            return
        self._head_done()
        self._in_body = False
        self._framing_bytes = 0
        super().on_message_complete()

    def _identity(self) -> bytes:
        """The id of the request whose head is read, as far as that is; b"" for none."""
        identity = dict(self.headers).get(REQUEST_ID, b"")
        return identity if len(identity) <= 4 * ID_LIMIT else b""

    def _expect_head(self) -> None:
        self._begun_s, self.url, self.headers = time.perf_counter(), b"", []
        self._timer = self.loop.call_later(self.head_timeout_s, self._head_late)

    def _head_done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if (
            self._framing_bytes == 0 and self.cycle is None
        ):  # the client sent nothing, so there is nothing to answer
            self.transport.close()
            return
        limit_s = f"{self.head_timeout_s:g} s"
        self._refuse(
            HeadTimeout(f"the head did not arrive within {limit_s}; send it again, in one go.")
        )

    def _refuse(self, error: ServingError) -> None:
        self._head_done()
        if self.transport.is_closing():
            return
        answer = error_answer(error)
        body, phrase = answer.body(), answer.phrase.encode()
        identity = self._identity()
        if self._in_body:
            self.scope["state"]["error"] = answer.code  # the application sees the client leave
        elif self.logs_requests:
            identity = identity or new_request_id().encode()
            self._log(identity, answer)
        head = (
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: "
            b"%d\r\nconnection: close\r\n%b\r\n"
        )
        echo = b"%b: %b\r\n" % (REQUEST_ID, identity) if identity else b""
        self.transport.write(head % (answer.status, phrase, len(body), echo) + body)
        self.transport.close()
        self._unparsed = memoryview(b"")
        self._timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def _log(self, identity: bytes, answer: ErrorAnswer) -> None:
        log_request(
            identity.decode("utf-8", errors="replace"),
            self.parser.get_method().decode() if self.url else "",
            self.url.decode("utf-8", errors="replace"),
            answer.status,
            self._begun_s,
            {"error": answer.code},
        )


class LoggedProtocol(BoundedProtocol):
    """Also logs what it refuses, as RequestLog what it does not see."""

    logs_requests = True
