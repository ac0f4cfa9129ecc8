"""One row of the result: one server, subject and round, from the process's start to its end."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.serving import behavior, candor
from benchmarks.serving.exchange import Request
from benchmarks.serving.peers.environment import CannotInstall, installed, programs
from benchmarks.serving.peers.peer import Peer, copy_decoder, variables
from benchmarks.serving.peers.registry import PEERS
from benchmarks.serving.process import CannotStart, Process, free_port, running
from benchmarks.serving.subjects import Subject
from model_store.installation import release
from model_store.store.store import Store

Row: TypeAlias = dict[str, Any]

OURS: Mapping[str, str] = {"candor": "Candor, ledger on", "candor-off": "Candor, ledger off"}
GARBAGE = b"this is no image" * 64
SIGNALLED = "resnet18"  # the tiny model answers before the signal arrives


@dataclass(frozen=True)
class Launch:
    """How to start a server and send it requests."""

    title: str
    version: str
    path: str
    start: Callable[[Path], Process]

    def request(self, image: bytes) -> Request:
        """A request about `image`."""
        return Request(self.path, "application/octet-stream", image)


def measure(
    name: str, subject: Subject, onnx: bytes, *, connections: list[int], seconds: float
) -> Row:
    """Start the server `name`, measure it and stop it. A failure gives a row with the reason."""
    try:
        launch = _launch(name, subject, onnx)
    except (CannotInstall, subprocess.CalledProcessError) as error:
        title = OURS[name] if name in OURS else PEERS[name].title
        return {"title": title, "failed": f"cannot be installed: {error}"}
    row: Row = {"title": launch.title, "version": launch.version}
    with _folder(subject, launch) as folder:
        try:
            with running(launch.start(folder)) as process:
                for found in _figures(process, subject, launch, folder, connections, seconds):
                    row |= found
        except (CannotStart, OSError, subprocess.CalledProcessError) as error:
            row["failed"] = f"{type(error).__name__}: {error}"
    return row


def _figures(
    process: Process,
    subject: Subject,
    launch: Launch,
    folder: Path,
    connections: list[int],
    seconds: float,
) -> Iterator[Row]:
    """The measurements in order; those that leave a backlog come last."""
    sample = launch.request(subject.samples()[0])
    yield {"start_s": process.first_answer_s(sample), "idle_mb": process.rss_mb()}
    yield behavior.garbage(process.port, sample, launch.request(GARBAGE), launch.request(b""))
    yield behavior.burst(process.port, sample)
    loads: dict[str, Row] = {}
    for count in sorted(connections):
        loads[str(count)] = _load(process.port, folder, connections=count, seconds=seconds)
        yield {"loads": loads, "loaded_mb": process.rss_mb()}
    yield {"after_storm_s": behavior.first_good_s(process.port, sample)}
    if subject.name == SIGNALLED:
        yield behavior.ended_in_flight(process, sample)


def _load(port: int, folder: Path, *, connections: int, seconds: float) -> Row:
    """What the load generator finds: rates, latencies, statuses of the requests in `folder`."""
    arguments = [str(port), str(folder / "requests"), str(connections), str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.load", *arguments],
        check=True,
        capture_output=True,
        cwd=candor.ROOT,
    )
    result: Row = json.loads(done.stdout)
    return result


@contextmanager
def _folder(subject: Subject, launch: Launch) -> Iterator[Path]:
    """A folder for the server, with the requests that the load generator sends."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        requests = Path(name, "requests")
        requests.mkdir()
        for number, image in enumerate(subject.samples()):
            (requests / f"{number}.request").write_bytes(launch.request(image).encode())
        yield Path(name)


def _launch(name: str, subject: Subject, onnx: bytes) -> Launch:
    return _ours(name, subject, onnx) if name in OURS else _peer(name, PEERS[name], subject, onnx)


def _ours(name: str, subject: Subject, onnx: bytes) -> Launch:
    def start(folder: Path) -> Process:
        candor.publish(Store(folder / "store"), subject, onnx)
        candor.compile_modules()
        port = free_port()
        environment = candor.environment(folder, port=port, ledger=name == "candor")
        return Process(candor.COMMAND, port=port, folder=folder, environment=environment)

    return Launch(OURS[name], release(), f"/predictions/{subject.name}", start)


def _peer(name: str, peer: Peer, subject: Subject, onnx: bytes) -> Launch:
    bin_folder = programs(name, peer)

    def start(folder: Path) -> Process:
        (folder / "model.onnx").write_bytes(onnx)
        copy_decoder(folder / "decoder")
        environment = variables(
            folder, programs=bin_folder, channels=subject.channels, side=subject.side
        )
        port = free_port()
        command = peer.command(bin_folder, port)
        return Process(command, port=port, folder=folder, environment=environment)

    return Launch(peer.title, installed(bin_folder, peer), peer.path, start)
