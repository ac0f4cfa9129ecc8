"""What an answer costs a server: processor time of the whole way from the request to the answer, by
kind of image.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.serving import candor
from benchmarks.serving.exchange import Request
from benchmarks.serving.process import Process, free_ports, running
from benchmarks.serving.subjects import SUBJECTS, Subject
from model_store.store.store import Store

KINDS = ("tiny", "resnet18", "radiograph")
CONNECTIONS = 16


def answer_cpu_s(url: str | None, *, seconds: float) -> dict[str, float]:
    """Processor seconds of a server for a thousand answers, by the name of the subject; `url` is
    its ledger.
    """
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
            Request(f"/predictions/{subject.name}", "application/octet-stream", each)
            for each in subject.samples()
        ]
        (folder / "requests").mkdir()
        for number, request in enumerate(requests):
            (folder / "requests" / f"{number}.request").write_bytes(request.encode())
        with running(
            Process(candor.COMMAND, port=port, folder=folder, environment=environment)
        ) as process:
            process.first_answer_s(requests[0])
            before_s = process.cpu_s()
            answered = _load(port, folder, seconds)
            return 1e3 * (process.cpu_s() - before_s) / answered


def _load(port: int, folder: Path, seconds: float) -> int:
    arguments = [str(port), str(folder / "requests"), str(CONNECTIONS), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.serving.load", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, cwd=candor.ROOT)
    return int(json.loads(done.stdout)["answered"])
