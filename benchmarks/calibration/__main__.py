"""python -m benchmarks.calibration: median seconds of ECE, MCE, accuracy and NLL, beside other
libraries, as a Markdown table.

Every library runs in its own child process, on the same arrays, in one thread. Each round goes
through all of them, so that other work on the machine affects all.
"""

import json
import os
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from statistics import median
from typing import Any

import typer

from benchmarks.calibration.subjects import SUBJECTS, arrays
from docs.generators.markdown import table


def main(
    n: int = typer.Option(10_000_000, help="predictions"),
    classes: int = typer.Option(4, help="classes"),
    rounds: int = typer.Option(3, help="rounds through all libraries; the median counts"),
    child: str = typer.Option("", hidden=True),
) -> None:
    """Time the measures of Candor, torchmetrics and netcal."""
    if child:
        print(json.dumps(_measure(child, n, classes)))
        return
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(rounds):
        for subject in SUBJECTS:
            rows[subject].append(_spawn(subject, n, classes))
    head = ("library", "seconds", "ECE, MCE, accuracy, NLL")
    print(table(head, (_line(subject, same) for subject, same in rows.items())))


def _line(subject: str, rows: list[dict[str, Any]]) -> tuple[str, str, str]:
    values = ", ".join(f"{value:.5f}" for value in rows[0]["values"])
    return subject, f"{median(row['seconds'] for row in rows):.2f}", values


def _spawn(subject: str, n: int, classes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.calibration", "--child", subject]
    done = subprocess.run(
        [*command, "--n", str(n), "--classes", str(classes)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _measure(subject: str, n: int, classes: int) -> dict[str, Any]:
    """Time the measures once, after a warm-up on a thousand rows."""
    p, y = arrays(n, classes)
    measure = SUBJECTS[subject]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measure(p[:1000], y[:1000])
        started_s = time.perf_counter()
        values = measure(p, y)
        return {"seconds": time.perf_counter() - started_s, "values": values}


if __name__ == "__main__":
    typer.run(main)
