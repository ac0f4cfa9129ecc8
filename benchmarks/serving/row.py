"""One row of the result: one server, subject and round, from the process's start to its end."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.serving import behavior, candor
from benchmarks.serving.exchange import Request
from benchmarks.serving.peers.environment import CannotInstall, installed, programs
from benchmarks.serving.peers.peer import Body, Peer, Scene, copy_decoder, raw
from benchmarks.serving.peers.registry import PEERS
from benchmarks.serving.process import CannotStart, Process, free_ports, running
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
    body: Callable[[bytes], Body]
    start: Callable[[Path], Process]

    def request(self, image: bytes) -> Request:
        """A request about `image`."""
        return Request(self.path, *self.body(image))


def measure(
    name: str,
    subject: Subject,
    onnx: bytes,
    *,
    connections: list[int],
    seconds: float,
    loads_only: bool = False,
) -> Row:
    """Start the server `name`, measure it and stop it. A failure gives a row with the reason."""
    try:
        launch = _launch(name, subject, onnx)
    except (CannotInstall, subprocess.CalledProcessError) as error:
        return {"title": title(name), "failed": f"cannot be installed: {error}"}
    row: Row = {"title": launch.title, "version": launch.version}
    with _folder(subject, launch) as folder:
        try:
            with running(launch.start(folder)) as process:
                figures = _loads if loads_only else _figures
                for found in figures(process, subject, launch, folder, connections, seconds):
                    row |= found
        except (CannotStart, OSError, subprocess.CalledProcessError) as error:
            row["failed"] = f"{type(error).__name__}: {error}"
    return row


def title(name: str) -> str:
    """The server's name in the table."""
    return OURS[name] if name in OURS else PEERS[name].title


def _figures(
    process: Process,
    subject: Subject,
    launch: Launch,
    folder: Path,
    connections: list[int],
    seconds: float,
) -> Iterator[Row]:
    """The measurements in order; those that leave a backlog come last."""
    samples = [launch.request(image) for image in subject.samples()]
    yield {"start_s": process.first_answer_s(samples[0]), "idle_mb": process.rss_mb()}
    yield behavior.garbage(process.port, samples[0], launch.request(GARBAGE), launch.request(b""))
    yield behavior.burst(process.port, samples[0])
    yield from _loads(process, subject, launch, folder, connections, seconds)
    yield {"after_storm_s": behavior.first_good_s(process.port, samples[0])}
    if subject.name == SIGNALLED:
        yield behavior.ended_in_flight(process, samples[0])


def _loads(
    process: Process,
    subject: Subject,
    launch: Launch,
    folder: Path,
    connections: list[int],
    seconds: float,
) -> Iterator[Row]:
    """Rates and latencies by the number of connections."""
    process.first_answer_s(launch.request(subject.samples()[0]))
    loads: dict[str, Row] = {}
    for count in sorted(connections):
        before_s = process.cpu_s()
        measured = load(process.port, folder, connections=count, seconds=seconds)
        measured["cpu_ms"] = 1e3 * (process.cpu_s() - before_s) / max(1, measured["answered"])
        loads[str(count)] = measured
        yield {"loads": loads, "loaded_mb": process.rss_mb()}


def load(port: int, folder: Path, *, connections: int, seconds: float) -> Row:
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
        write_requests(Path(name), map(launch.request, subject.samples()))
        yield Path(name)


def write_requests(folder: Path, requests: Iterable[Request]) -> None:
    """Write the requests that the load generator sends below `folder`."""
    (folder / "requests").mkdir()
    for number, request in enumerate(requests):
        (folder / "requests" / f"{number}.request").write_bytes(request.encode())


def _launch(name: str, subject: Subject, onnx: bytes) -> Launch:
    return _ours(name, subject, onnx) if name in OURS else _peer(name, PEERS[name], subject, onnx)


def _ours(name: str, subject: Subject, onnx: bytes) -> Launch:
    def start(folder: Path) -> Process:
        publish = Store(folder / "store")
        candor.publish(publish, subject, onnx)
        candor.compile_modules()
        (port,) = free_ports(1)
        environment = candor.environment(folder, port=port, ledger=name == "candor")
        return Process(candor.COMMAND, port=port, folder=folder, environment=environment)

    return Launch(OURS[name], release(), f"/predictions/{subject.name}", raw, start)


def _peer(name: str, peer: Peer, subject: Subject, onnx: bytes) -> Launch:
    bin_folder = programs(name, peer)

    def start(folder: Path) -> Process:
        scene = Scene(bin_folder, folder, free_ports(5), subject.channels, subject.side)
        (folder / "model.onnx").write_bytes(onnx)
        copy_decoder(folder / "decoder")
        peer.prepare(scene)
        environment = scene.environment() | dict(peer.variables or {})
        return Process(
            peer.start(scene), port=scene.ports[0], folder=folder, environment=environment
        )

    return Launch(peer.title, installed(bin_folder, peer), peer.path, peer.body, start)
