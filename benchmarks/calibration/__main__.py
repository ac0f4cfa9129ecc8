"""python -m benchmarks.calibration: median seconds, ratio to Candor and memory above the arrays, as
a Markdown table.

Every subject runs in its own child process, on the same arrays. Each round goes through all
subjects, so that other work on the machine affects all of them.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import typer

from benchmarks.calibration.subjects import SUBJECTS, arrays


def main(
    n: int = typer.Option(10_000_000, help="predictions"),
    classes: int = typer.Option(4, help="classes"),
    rounds: int = typer.Option(3, help="rounds through all subjects; the median counts"),
    threads: int = typer.Option(1, help="threads that torch may use; NumPy uses one here"),
    task: str = typer.Option("", help="only tasks whose name contains this"),
    child: str = typer.Option("", hidden=True),
) -> None:
    """Time the measures of Candor, torchmetrics and netcal."""
    if child:
        print(json.dumps(_measure(child, n, classes, task)))
        return
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for _ in range(rounds):
        for subject in SUBJECTS:
            for row in _spawn(subject, n, classes, threads, task):
                found[row["task"], subject].append(row)
    print(
        f"{n:,} predictions, {classes} classes, torch with {threads} thread(s), {rounds} rounds\n"
    )
    print(
        "| task | subject | seconds | Candor is faster by | MB above the arrays | values "
        "|\n|---|---|---|---|---|---|"
    )
    for (name, subject), rows in sorted(found.items(), key=lambda item: item[0][0]):
        print(_line(name, subject, rows, found[name, "candor"]))


def _line(name: str, subject: str, rows: list[dict[str, Any]], ours: list[dict[str, Any]]) -> str:
    ratio = statistics.median(
        row["seconds"] / own["seconds"] for row, own in zip(rows, ours, strict=True)
    )
    seconds, megabytes = (
        statistics.median(row[key] for row in rows) for key in ("seconds", "megabytes")
    )
    values = ", ".join(f"{value:.5f}" for value in rows[0]["values"])
    return f"| {name} | {subject} | {seconds:.2f} | {ratio:.1f} | {megabytes:.0f} | {values} |"


def _spawn(subject: str, n: int, classes: int, threads: int, task: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.calibration", "--child", subject, "--n", str(n)]
    command += ["--classes", str(classes), "--task", task]
    environment = os.environ | {
        name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    }
    out = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    rows: list[dict[str, Any]] = json.loads(out.splitlines()[-1])
    return rows


def _measure(subject: str, n: int, classes: int, only: str) -> list[dict[str, Any]]:
    """Time each task once, after a warm-up on a thousand rows."""
    p, y = arrays(n, classes)
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rehearsal, tasks = SUBJECTS[subject](p[:1000], y[:1000]), SUBJECTS[subject](p, y)
        for name, run in tasks.items():
            if only not in name:
                continue
            rehearsal[name]()
            Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak
            before, start = _memory_mb("VmRSS"), time.perf_counter()
            values = run()
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "task": name,
                    "seconds": seconds,
                    "megabytes": _memory_mb("VmHWM") - before,
                    "values": values,
                }
            )
    return rows


def _memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    typer.run(main)
