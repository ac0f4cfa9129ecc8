"""python -m benchmarks.scoring --store STORE: scores a million small images, is killed twice, and
counts the rows.

Images and answers are made below --folder, and stay there. A part of the job that was not finished
is continued.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.processes import cpu_s, resident_mb
from benchmarks.scoring.images import make, name_of

LOOK_S = 0.25


@dataclass(frozen=True)
class Span:
    """One process of the command: until it was killed, or its end."""

    seconds: float
    cpu_s: float
    images: int
    peak_mib: float


def main() -> None:
    """Make the images, score them in spans, count."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument(
        "--store", required=True, help="a model store with one model, which should be tiny"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("scoring"), help="for images and answers"
    )
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument(
        "--kill-after",
        type=float,
        nargs="*",
        default=[40.0, 40.0],
        help="seconds of each killed span",
    )
    parser.add_argument("--engine", choices=("process", "ray"), default="process")
    chosen = parser.parse_args()
    images, out = chosen.folder / "images", chosen.folder / f"answers-{chosen.engine}"
    broken = make(images, chosen.images)
    command = [sys.executable, "-m", "candor", "predict", str(images), "--out", str(out)]
    command += ["--store", chosen.store, "--engine", chosen.engine, "--json"]
    spans = [_span(command, out, limit_s=limit_s) for limit_s in [*chosen.kill_after, float("inf")]]
    found = _counted(out)
    if found != {"rows": chosen.images, "refused": broken, "distinct": chosen.images}:
        raise SystemExit(f"not every image has one row: {found}")
    json.dump(
        {"cores": os.cpu_count(), "spans": [asdict(each) for each in spans]} | found,
        sys.stdout,
        indent=2,
    )


def _span(command: list[str], out: Path, *, limit_s: float) -> Span:
    before, began_s = _rows(out), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak_mib, used_s = 0.0, 0.0
    while process.poll() is None and time.monotonic() - began_s < limit_s:
        peak_mib = max(peak_mib, resident_mb(process.pid))
        used_s = max(used_s, cpu_s(process.pid))
        time.sleep(LOOK_S)
    process.kill()
    process.wait()
    seconds = time.monotonic() - began_s
    return Span(round(seconds, 1), round(used_s, 1), _rows(out) - before, round(peak_mib, 1))


def _parts(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.parquet"))


def _rows(out: Path) -> int:
    return sum(pq.read_metadata(part).num_rows for part in _parts(out))


def _counted(out: Path) -> dict[str, int]:
    tables = [pq.read_table(part, columns=["file", "error"]) for part in _parts(out)]
    names = [name for table in tables for name in table["file"].to_pylist()]
    if set(names) != {name_of(number) for number in range(len(names))}:
        raise SystemExit("the rows are not those of the images")
    refused = sum(len(table) - table["error"].null_count for table in tables)
    return {"rows": len(names), "refused": refused, "distinct": len(set(names))}


if __name__ == "__main__":
    main()
