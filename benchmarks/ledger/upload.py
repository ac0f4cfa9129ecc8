"""The cost of a table over HTTP: answers and labels sent to a real `candor monitor` on one loopback
connection.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np

CLASSES = ("normal", "pneumonia")


def upload_rates(folder: Path, count: int) -> Iterator[tuple[str, tuple[float, float]]]:
    """What was sent, with rows per CPU second of the server and per wall-clock second; the ledger
    is in `folder`.
    """
    confidence = np.random.default_rng(0).uniform(0.5, 1, count).round(4).tolist()
    answers = "".join(
        json.dumps(
            {"request_id": f"scan-{number}", "predicted": CLASSES[number % 2], "confidence": each}
        )
        + "\n"
        for number, each in enumerate(confidence)
    )
    with _Monitor(folder) as client:
        declared = client.post("/models-log", json={"model": "bench", "classes": CLASSES})
        declared.raise_for_status()
        yield (
            "answers, NDJSON",
            _sent(client, "/predictions-log?model=bench", answers, "application/x-ndjson", count),
        )
        ids = [bytes(key).hex() for key in _keys(folder)]
        for kind, table in (
            (
                "application/x-ndjson",
                (json.dumps({"prediction_id": key, "label": "normal"}) for key in ids[::2]),
            ),
            ("text/csv", iter(["prediction_id,label", *(f"{key},normal" for key in ids[1::2])])),
        ):
            body = "\n".join(table)
            yield f"labels, {kind}", _sent(client, "/feedback", body, kind, count // 2)
            yield (
                f"the same labels again, {kind}",
                _sent(client, "/feedback", body, kind, count // 2),
            )


def _sent(client: httpx.Client, path: str, body: str, kind: str, count: int) -> tuple[float, float]:
    used_s, began_s = _cpu_s(client), time.perf_counter()
    summary = (
        client.post(path, content=body.encode(), headers={"content-type": kind})
        .raise_for_status()
        .json()
    )
    took_s = time.perf_counter() - began_s
    if summary["problems"] or summary["rows"] != count:
        raise RuntimeError(f"not every row was recorded: {summary['statuses']}")
    return count / (_cpu_s(client) - used_s), count / took_s


def _cpu_s(client: httpx.Client) -> float:
    """CPU seconds that the server has used. Other programs on the same cores do not change them."""
    lines = client.get("/metrics").text.splitlines()
    return next(
        float(line.split()[1]) for line in lines if line.startswith("process_cpu_seconds_total")
    )


def _keys(folder: Path) -> list[bytes]:
    import sqlite3

    with sqlite3.connect(folder / "ledger.db") as connection:
        return [key for (key,) in connection.execute("SELECT prediction_id FROM prediction")]


class _Monitor:
    """A monitor process and its client."""

    def __init__(self, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
        settings = {"CANDOR_PORT": "0", "CANDOR_LEDGER": f"sqlite:///{folder / 'ledger.db'}"}
        command = [sys.executable, "-m", "candor", "monitor"]
        self._process = subprocess.Popen(
            command, env=kept | settings, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> httpx.Client:
        if self._process.stdout is None:
            raise RuntimeError("the monitor did not print its address; see its output above")
        self._client = httpx.Client(
            base_url=self._process.stdout.readline().split()[-1], timeout=600
        )
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait()
