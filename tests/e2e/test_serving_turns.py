"""Clients take turns: one that sends much holds up nobody else."""

import io
import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import pytest
from PIL import Image

from model_store.store.store import Store
from tests.builders.bundles import encode, picture
from tests.builders.processes import wait_until
from tests.builders.servers import Server, Start
from tests.soak.flood import TLS_KINDS, Flood

MANY, ONE = "m" * 32, "o" * 32


def large_png() -> bytes:
    """49 megapixels in 230 KB."""
    ramp = np.add.outer(np.arange(7000), np.arange(7000)).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(ramp).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def test_a_form_of_large_images_does_not_hold_up_another_client(
    tiny_store: Store, tmp_path: Path, start: Start
) -> None:
    server = start(tiny_store, tokens=f"{MANY} predict,read; {ONE} predict")
    server.client.headers["Authorization"] = f"Bearer {MANY}"
    url, image, small = f"{server.url}/predictions/tiny", large_png(), encode(picture(), "JPEG")
    files = [("file", (f"{number}.png", image)) for number in range(64)]
    answered: list[int] = []

    def send_forms() -> None:
        headers = {"Authorization": f"Bearer {MANY}"}
        with suppress(httpx.TransportError):  # its server is killed in the end
            answered.append(httpx.post(url, files=files, headers=headers).status_code)

    forms = [threading.Thread(target=send_forms) for _ in range(2)]
    for form in forms:
        form.start()
    wait_until(lambda: server.metric("candor_body_memory_bytes") > len(image))
    with httpx.Client(headers={"Authorization": f"Bearer {ONE}"}) as client:
        for _ in range(5):  # alone 0.02 s each; by image, not by client, it was 4
            assert client.post(url, content=small).status_code == 200
    assert not answered  # they were held up all the while
    server.stop()
    for form in forms:
        form.join()


@pytest.fixture(scope="module")
def context(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.fixture(scope="module")
def encrypted(
    start_shared: Start, published_once: Store, certificate: Path, context: ssl.SSLContext
) -> Server:
    """A server over TLS."""
    server = start_shared(published_once, ready=False, tls_certificate=str(certificate))
    with httpx.Client(verify=context) as client:
        wait_until(lambda: client.get(f"{server.url}/healthz").is_success)
    return server


@pytest.mark.parametrize("kind", TLS_KINDS)
def test_handshakes_that_never_end_do_not_hold_up_others(
    encrypted: Server, context: ssl.SSLContext, kind: str
) -> None:
    url = f"{encrypted.url}/healthz"
    waited_s = []
    with httpx.Client(verify=context) as kept:
        kept.get(url)
        with Flood(encrypted.port, kind, connections=100):
            time.sleep(2)
            for _ in range(50):
                started_s = time.monotonic()
                kept.get(url)
                waited_s.append(time.monotonic() - started_s)
            new_s = [httpx.get(url, verify=context).elapsed for _ in range(5)]
    assert min(new_s).total_seconds() < 3  # a new connection; with a long queue it was 5
    assert median(waited_s) < 0.5, waited_s


def test_what_follows_the_last_answer_over_tls_is_not_read_for_long(
    encrypted: Server, context: ssl.SSLContext
) -> None:
    def connect(target: bytes) -> ssl.SSLSocket:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", encrypted.port))
        connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
        if target:
            connection.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
        return connection

    # The silent one is ended after 10 s, and TLS would end the one that goes on sending after 30.
    with connect(b"/openapi.json") as slow, connect(b"/healthz") as sends, connect(b"") as silent:
        silent.setblocking(False)
        with suppress(OSError):
            while True:
                sends.sendall(bytes(1024))
        with pytest.raises(ssl.SSLWantReadError):
            silent.recv(1)
        received = b"".join(iter(partial(slow.recv, 65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert int(length[1]) == len(body) > 100_000
