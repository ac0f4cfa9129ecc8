"""The processor time of the whole way from request to answer, by kind of image."""

import tempfile
from pathlib import Path

from benchmarks.serving import candor
from benchmarks.serving.exchange import Request
from benchmarks.serving.process import Process, free_ports, running
from benchmarks.serving.row import load, write_requests
from benchmarks.serving.subjects import SUBJECTS, Subject
from model_store.store.store import Store

KINDS = ("tiny", "resnet18", "radiograph")
CONNECTIONS = 16


def answer_cpu_s(url: str | None, *, seconds: float) -> dict[str, float]:
    """Processor seconds for a thousand answers, by subject; `url` is the server's ledger."""
    return {name: _measured(SUBJECTS[name], url, seconds) for name in KINDS}


def _measured(subject: Subject, url: str | None, seconds: float) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        candor.publish(Store(folder / "store"), subject, subject.onnx())
        (port,) = free_ports(1)
        environment = candor.environment(folder, port=port, ledger=False) | {
            "CANDOR_LEDGER": url or "off"
        }
        requests = [
            Request(f"/predictions/{subject.name}", "application/octet-stream", image)
            for image in subject.samples()
        ]
        write_requests(folder, requests)
        with running(
            Process(candor.COMMAND, port=port, folder=folder, environment=environment)
        ) as process:
            process.first_answer_s(requests[0])
            before_s = process.cpu_s()
            found = load(port, folder, connections=CONNECTIONS, seconds=seconds)
            return 1e3 * (process.cpu_s() - before_s) / int(found["answered"])
