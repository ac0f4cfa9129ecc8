"""The cost of a table over HTTP: predictions and labels sent to a real `candor monitor`."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from benchmarks.ledger.writer import CLASSES

NDJSON = "application/x-ndjson"


def upload_rates(folder: Path, count: int) -> Iterator[tuple[str, float, float]]:
    """What was sent, and its rows per processor second of the server and per second."""
    confidence = np.random.default_rng(0).uniform(0.5, 1, count).round(4).tolist()
    answers = [
        json.dumps({"request_id": f"scan-{n}", "predicted": CLASSES[n % 2], "confidence": p})
        for n, p in enumerate(confidence)
    ]
    with _monitor(folder) as client:
        client.post("/models-log", json={"model": "bench", "classes": CLASSES}).raise_for_status()
        yield "predictions", *_sent(client, "/predictions-log?model=bench", answers)
        with sqlite3.connect(folder / "ledger.db") as connection:
            keys = connection.execute("SELECT prediction_id FROM prediction").fetchall()
        labels = [json.dumps({"prediction_id": key.hex(), "label": "normal"}) for (key,) in keys]
        yield "labels", *_sent(client, "/feedback", labels)


def _sent(client: httpx.Client, path: str, lines: list[str]) -> tuple[float, float]:
    used_s, began_s = _cpu_s(client), time.perf_counter()
    answer = client.post(path, content="\n".join(lines), headers={"content-type": NDJSON})
    took_s = time.perf_counter() - began_s
    summary = answer.raise_for_status().json()
    if summary["problems"] or summary["rows"] != len(lines):
        raise RuntimeError(f"not every row was recorded: {summary['statuses']}")
    return len(lines) / (_cpu_s(client) - used_s), len(lines) / took_s


def _cpu_s(client: httpx.Client) -> float:
    """Processor seconds of the server. Other programs on the same cores do not change them."""
    lines = client.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("process_cpu_seconds_total")]
    return float(line.split()[1])


@contextmanager
def _monitor(folder: Path) -> Iterator[httpx.Client]:
    """The client of a monitor's process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
    settings = {"CANDOR_PORT": "0", "CANDOR_LEDGER": f"sqlite:///{folder / 'ledger.db'}"}
    with subprocess.Popen(
        [sys.executable, "-m", "candor", "monitor"],
        env=kept | settings,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdout is None:
            raise RuntimeError("the monitor did not print its address; see its output above")
        url = process.stdout.readline().split()[-1]
        with httpx.Client(base_url=url, timeout=600) as client:
            yield client
        process.terminate()
