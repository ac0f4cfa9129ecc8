"""Messages over a connection that tears them apart, joins them, or holds back."""

import asyncio
from typing import Any

import pytest

from model_store.image import InputSpec
from serving.fronts.connection import LIMIT_BYTES, FrameConnection
from serving.fronts.messages import FROM_FRONT, TO_FRONT, ImageAdmitted, ImageAnswered, ImageSent
from tests.builders.pipes import Pipe

ASKED = ImageSent(7, "tiny", None, None, "mine", '{"site":"A"}', 0.5, 1.25)
SENT = ImageSent(8, "tiny", "1.0", True, None, None, None, 1.5, 0.001, 3, bytes(range(200)))


def connected(decoder: Any = FROM_FRONT) -> tuple[FrameConnection, Pipe, list[Any]]:
    heard: list[Any] = []
    connection, pipe = (
        FrameConnection(decoder, handle=heard.append, lost=lambda: heard.append("lost")),
        Pipe(),
    )
    connection.connection_made(pipe)
    return connection, pipe, heard


def sent(*messages: Any) -> bytes:
    connection, pipe, _ = connected()
    for message in messages:
        connection.send(message)
    return b"".join(pipe.written)


@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
def test_messages_arrive_whole_and_in_order_however_their_bytes_do(size: int) -> None:
    connection, _, heard = connected()
    stream = sent(ASKED, SENT, ASKED)
    for start in range(0, len(stream), size):
        connection.data_received(stream[start : start + size])
    assert heard == [ASKED, SENT, ASKED]


def test_an_input_arrives_as_it_was() -> None:
    connection, _, heard = connected(TO_FRONT)
    spec = InputSpec(1, 28, 30, "crop", (40.0, 400.0), "first")
    connection.data_received(sent(ImageAdmitted(1, 2, spec), ImageAnswered(3, b"{}")))
    assert heard == [ImageAdmitted(1, 2, spec), ImageAnswered(3, b"{}")]
    assert hash(heard[0].input) == hash(spec)


@pytest.mark.parametrize(
    "stream",
    [
        sent(ImageAnswered(3, b"{}")),  # which no front says
        b"\x00\x00\x00\x02\xc1\xc1",
        (LIMIT_BYTES + 1).to_bytes(4, "big"),
    ],
    ids=["another side's message", "no MessagePack", "too long"],
)
def test_what_is_no_message_ends_the_connection(stream: bytes) -> None:
    connection, pipe, heard = connected()
    connection.data_received(stream)
    assert pipe.aborted
    assert heard == []


def test_one_message_that_cannot_be_handled_does_not_keep_others_from_it() -> None:
    heard: list[int] = []

    def handle(message: ImageSent) -> None:
        heard.append(message.number)
        if message.number == ASKED.number:
            raise LookupError

    connection = FrameConnection(FROM_FRONT, handle=handle, lost=lambda: None)
    connection.connection_made(Pipe())
    connection.data_received(sent(ASKED, SENT))
    assert heard == [7, 8]


def test_whoever_sends_waits_while_the_other_side_takes_nothing_and_no_longer_after_its_end() -> (
    None
):
    async def wait() -> list[bool]:
        connection, pipe, heard = connected()
        connection.pause_writing()
        waiting = asyncio.ensure_future(connection.writable())
        await asyncio.sleep(0)
        found = [waiting.done()]
        connection.resume_writing()
        await waiting
        connection.pause_writing()
        waiting = asyncio.ensure_future(connection.writable())
        await asyncio.sleep(0)
        connection.connection_lost(None)
        await waiting
        connection.send(ASKED)
        return [*found, heard == ["lost"], b"".join(pipe.written) == b""]

    assert asyncio.run(wait()) == [False, True, True]
