"""Hostile bodies to a real server with default settings: others are answered meanwhile, and memory
comes back.

`make test` sends the bodies that once did most harm, `make nightly` all of them.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.hostile_bodies import BODIES
from tests.builders.processes import children, runs, wait_until
from tests.soak.flood import KINDS as FLOODS
from tests.soak.probe import memory_mb
from tests.soak.siege import LEFT_MB, PEAK_MB, Siege

# Each once held the server for seconds or minutes, or took gigabytes.
WORST = [
    "bmp-rle8-wide",
    "tiff-tiles-over-the-edge",
    "tiff-strips-of-one-row-deflated",
    "jpeg-scans-16000",
    "webp-34-bytes",
    "png-large-rgba",
    "dicom-rle-28-megapixels",
    "json-zeros",
    "ndjson-ones",
    "feedback-zeros",
    "feedback-ndjson",
    "feedback-csv-quote",
    "infer-zeros",
    "infer-huge-number",
    "infer-huge-shape",
    "infer-empty-elements",
]
OTHERS = sorted(BODIES.keys() - set(WORST))
BUSY_P99_S = 0.5  # of a machine that other tests keep busy; alone it is 0.1
FLOOD_MB = 100
FLOODING = 10  # connections of one client; a proxy bounds them where more are feared


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    with Siege(tmp_path_factory.mktemp("siege")) as started:
        yield started


@pytest.fixture(scope="module")
def tls_siege(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Siege]:
    with Siege(tmp_path_factory.mktemp("tls"), certificate) as started:
        yield started
        assert started.left_mb() < LEFT_MB  # it was 300 MB that the garbage collector had to find


@pytest.mark.parametrize(
    "name", [*WORST, *(pytest.param(name, marks=pytest.mark.nightly) for name in OTHERS)]
)
def test_a_hostile_body_is_answered_in_words_and_stops_nobody(siege: Siege, name: str) -> None:
    outcome = siege.try_again(name, BODIES[name])
    assert outcome.status in (200, 400, 413, 415, 422), str(outcome)
    assert outcome.watched.failures == []
    assert outcome.watched.p99_s < BUSY_P99_S, str(outcome)
    assert outcome.watched.peak_mb < PEAK_MB, str(outcome)
    assert outcome.seconds < 30, str(outcome)


WORST_FLOODS = ["trailers", "chunks of a byte to a health check", "requests without waiting"]


@pytest.mark.parametrize(
    "kind",
    [
        *WORST_FLOODS,
        *(
            pytest.param(kind, marks=pytest.mark.nightly)
            for kind in sorted(FLOODS.keys() - set(WORST_FLOODS))
        ),
    ],
)
def test_connections_without_a_token_stop_nobody(siege: Siege, kind: str) -> None:
    siege.flood_stops_nobody(kind, connections=FLOODING, most_mb=FLOOD_MB)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", sorted(FLOODS))
def test_connections_over_tls_stop_nobody(tls_siege: Siege, kind: str) -> None:
    tls_siege.flood_stops_nobody(kind, connections=FLOODING, most_mb=FLOOD_MB)


def test_memory_comes_back_and_nothing_was_a_surprise(siege: Siege) -> None:
    assert siege.left_mb() < LEFT_MB
    assert '"trace"' not in siege.server.log()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        pytest.param(signal.SIGTERM, 0, marks=pytest.mark.nightly),
    ],
)
def test_no_process_outlives_its_server(tmp_path: Path, number: int, code: int) -> None:
    with Siege(tmp_path) as siege:
        siege.send("dicom", BODIES["dicom-32-bit"])
        [child] = _decoders(siege)
        siege.server.signal(number)
        assert siege.server.exit_code() == code
        wait_until(lambda: not runs(child))


def test_a_killed_decoding_process_is_replaced(siege: Siege) -> None:
    [child] = _decoders(siege)
    os.kill(child, signal.SIGKILL)
    assert siege.send("dicom", BODIES["dicom-32-bit"]).status == 200
    assert memory_mb(siege.server.process.pid) < PEAK_MB


def test_a_client_that_hangs_up_after_a_large_body_no_longer_waits(siege: Siege) -> None:
    gone = 'candor_requests_rejected_total{reason="client_gone"} '

    def count() -> float:
        lines = siege.server.metrics()
        return sum(float(line.removeprefix(gone)) for line in lines if line.startswith(gone))

    before = count()
    body = BODIES["jpeg-scans-90-of-49-megapixels"]  # seconds to decode
    data = body.make() + bytes(2_000_000)  # so that reading pauses
    with socket.create_connection(("127.0.0.1", siege.server.port)) as connection:
        lines = [
            f"POST {body.path} HTTP/1.1",
            "Host: a",
            "Content-Type: image/jpeg",
            f"Content-Length: {len(data)}",
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + data)
        time.sleep(0.5)  # all of it has arrived
    wait_until(lambda: count() == before + 1)


def _decoders(siege: Siege) -> list[int]:
    """The process ids of its decoding processes, once there is one."""
    pid = siege.server.process.pid
    return wait_until(lambda: len(found := children(pid, "serving.decoding.worker")) == 1 and found)
