"""Messages of any size come through whole, and a stream that ends is told from one that lies."""

import socket
import threading

import pytest

from serving.decoding.messages import receive, send


def test_a_message_larger_than_the_socket_comes_through() -> None:
    ours, theirs = socket.socketpair()
    data = bytes(range(256)) * 20_000
    with ours, theirs:
        sender = threading.Thread(target=send, args=(ours, "job", data), kwargs={"cpu_s": 1.5})
        sender.start()
        theirs.settimeout(30)  # with a timeout, a read may return in part
        message = receive(theirs, limit_bytes=len(data))
        sender.join()
    assert message is not None
    assert (message.kind, message.head["cpu_s"], message.data) == ("job", 1.5, data)


@pytest.mark.parametrize("sent", [b"", b"\x05\0\0\0", b"\x05\0\0\0\0\0\0\0\0\0\0\0{"])
def test_a_stream_that_ends_is_no_message(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(sent)
        ours.close()
        assert receive(theirs, limit_bytes=10) is None


def test_a_message_over_the_limit_is_not_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(ours, "decoded", bytes(11))
        with pytest.raises(ValueError, match="11 bytes"):
            receive(theirs, limit_bytes=10)
