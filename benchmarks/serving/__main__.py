"""`python -m benchmarks.serving`: Candor over HTTP beside ONNX Runtime alone, in one run, medians of repeats."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from urllib.error import HTTPError

from benchmarks.serving.candor import publish, serving
from benchmarks.serving.probe import SPINNING, raw_images_per_s
from benchmarks.serving.subjects import SUBJECTS, Subject, image_file
from model_store.store import Store

RAW_BATCHES = (1, 16)
# The least share of raw throughput that 16 connections must reach on the model that matters.
REQUIRED = {("resnet18", 16): 0.85}


def main() -> int:
    """Measure, print, return 1 if a required ratio is missed."""
    options = _options()
    rows = [row for name in options.subjects for row in measure(SUBJECTS[name], options)]
    print(table(rows))
    missed = [
        row for row in rows if row["ledger"] and row["ratio"] < REQUIRED.get((row["model"], row["connections"]), 0)
    ]
    for row in missed:
        print(
            f"missed: {row['model']} at {row['connections']} connections: {row['ratio']:.3f} of raw",
            file=sys.stderr,
        )
    if options.json:
        options.json.write_text(json.dumps({"cores": len(os.sched_getaffinity(0)), "rows": rows}, indent=2))
    return 1 if missed else 0


def measure(subject: Subject, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of one subject: with a ledger, and without."""
    onnx = subject.onnx()
    for ledger in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            publish(Store(root / "store"), subject, onnx)
            for number, sample in enumerate(subject.samples()):
                image_file(root, number).write_bytes(sample)
            with serving(root / "store", ledger=root / "ledger.db" if ledger else None) as port:
                wait_until_ready(port)
                yield from _rows(subject, onnx, root, port, ledger, options)


def _rows(
    subject: Subject, onnx: bytes, folder: Path, port: int, ledger: bool, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row per number of connections; every repeat has its own raw probes around it."""
    repeats: dict[int, list[dict[str, Any]]] = {count: [] for count in options.connections}
    before = _raw(subject, onnx, options)
    for number in range(options.repeats):
        for count in options.connections:
            print(f"{subject.name} ledger={ledger} c={count} repeat {number + 1}", file=sys.stderr)
            repeats[count].append(load(port, subject.name, folder, connections=count, seconds=options.seconds))
        after = _raw(subject, onnx, options)
        for count, results in repeats.items():
            batch = 1 if count == 1 else max(RAW_BATCHES)
            results[-1]["raw"] = [(before[batch, mode] + after[batch, mode]) / 2 for mode in SPINNING]
        before = after
    return [
        {"model": subject.name, "ledger": ledger, "connections": count} | medians(repeats[count]) for count in repeats
    ]


def medians(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the repeats; of statuses, the union.

    The ratio is taken within each repeat, against each way to run ONNX Runtime, and the lower median counts:
    taking the better probe within a repeat would count the machine's noise against the server.
    """
    figures = ("requests_per_s", "p50_ms", "p99_ms")
    seen = sorted({status for result in results for status in result["statuses"]})
    modes = range(len(SPINNING))
    ratio, mode = min(
        (median(result["requests_per_s"] / result["raw"][mode] for result in results), mode) for mode in modes
    )
    raw = median(result["raw"][mode] for result in results)
    middle = {figure: median(result[figure] for result in results) for figure in figures}
    return middle | {"raw_per_s": raw, "ratio": ratio, "statuses": seen, "repeats": results}


def load(port: int, model: str, folder: Path, *, connections: int, seconds: float) -> dict[str, Any]:
    """One run of the load generator."""
    arguments = ["127.0.0.1", str(port), f"/predictions/{model}", str(folder), str(connections), str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.load", *arguments], check=True, capture_output=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def wait_until_ready(port: int) -> None:
    """Return once /readyz says so."""
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
                return
        except HTTPError:
            time.sleep(0.05)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| model | ledger | connections | requests/s | p50 ms | p99 ms | raw images/s | of raw |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ledger = "on" if row["ledger"] else "off"
        lines.append(
            f"| {row['model']} | {ledger} | {row['connections']} | {row['requests_per_s']:.1f} "
            f"| {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['raw_per_s']:.1f} | {row['ratio']:.3f} |"
        )
    return "\n".join(lines)


def _raw(subject: Subject, onnx: bytes, options: argparse.Namespace) -> dict[tuple[int, bool], float]:
    """Raw images per second by batch size and spinning."""
    shape = (subject.channels, subject.side, subject.side)
    probe = partial(
        raw_images_per_s, onnx, shape=shape, threads=len(os.sched_getaffinity(0)), seconds=options.seconds / 4
    )
    return {(batch, mode): probe(batch=batch, spinning=mode) for batch in RAW_BATCHES for mode in SPINNING}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
