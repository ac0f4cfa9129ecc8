"""`python -m benchmarks.serving`: Candor over HTTP beside ONNX Runtime alone and other model
servers, in one run.

In each round every server is started, measured and stopped once, with raw probes of ONNX Runtime
before and after. Results are kept in --out, one file per row, so an interrupted run resumes where
it stopped.
"""

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.serving.goals import goals
from benchmarks.serving.page import write_page
from benchmarks.serving.peers.registry import PEERS
from benchmarks.serving.probe import SPINNING, decoded_per_s, raw_images_per_s
from benchmarks.serving.report import overview, summarize
from benchmarks.serving.row import OURS, Row, measure
from benchmarks.serving.subjects import SUBJECTS, Subject
from model_store.image import InputSpec

RAW_BATCHES = (1, 16)
# The least share of raw throughput that 16 connections must reach, with the ledger, on the model
# that matters.
REQUIRED = ("resnet18", "candor", "16", 0.85)


def main() -> int:
    """Measure, print, return 1 if the required ratio is missed."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = measure_all(options)
    result = summarize(rows)
    (options.out / "result.json").write_text(
        json.dumps({"cores": _cores(), "rows": rows}, indent=1)
    )
    print(overview(result))
    print(goals(result))
    if options.page:
        write_page(
            result, machine=f"{_cores()} cores", seconds=options.seconds, rounds=options.repeats
        )
    subject, server, count, least = REQUIRED
    ratio = result.get((subject, server), {}).get("ratio", {}).get(count, least)
    if ratio < least:
        print(
            f"missed: {subject} at {count} connections: {ratio:.3f} of raw throughput, goal "
            f"{least}",
            file=sys.stderr,
        )
    return int(ratio < least)


def measure_all(options: argparse.Namespace) -> list[Row]:
    """The rows of all rounds. Rows that are on disk already are not measured again."""
    rows = []
    for number in range(1, options.repeats + 1):
        for subject in (SUBJECTS[name] for name in options.subjects):
            onnx = _onnx(subject, options.out)
            probe = partial(_probe, subject, onnx, seconds=options.seconds / 4)
            before = None
            for name in (*OURS, *options.peers):
                file = options.out / f"{subject.name}-{name}-{number}.json"
                asked = {"connections": options.connections, "seconds": options.seconds}
                row = json.loads(file.read_text()) if file.exists() else {}
                if row.get("asked") != asked or "failed" in row:
                    before = before or probe()
                    print(
                        f"{time.strftime('%H:%M:%S')} round {number}: {subject.name}, {name}",
                        file=sys.stderr,
                    )
                    row = {"subject": subject.name, "server": name, "round": number, "asked": asked}
                    row |= measure(name, subject, onnx, **asked)
                    after = probe()
                    row |= {"raw": [before, after], "load_average": os.getloadavg()[0]}
                    file.write_text(json.dumps(row, indent=1))
                    before = after
                rows.append(row)
    return rows


def _probe(subject: Subject, onnx: bytes, *, seconds: float) -> dict[str, list[float]]:
    """Raw images per second by batch size, with and without spinning threads.

    For radiographs, decoding is added: a lone image is decoded on one core, many on all.
    """
    shape = (subject.channels, subject.side, subject.side)
    rate = partial(raw_images_per_s, onnx, shape=shape, threads=_cores(), seconds=seconds)
    added_s = dict.fromkeys(RAW_BATCHES, 0.0)
    if subject.size:
        decoded = partial(decoded_per_s, subject.samples(), InputSpec(*shape), seconds=seconds)
        added_s = {
            batch: 1 / decoded(processes=1 if batch == 1 else _cores()) for batch in RAW_BATCHES
        }
    return {
        str(batch): [
            1 / (1 / rate(batch=batch, spinning=mode) + added_s[batch]) for mode in SPINNING
        ]
        for batch in RAW_BATCHES
    }


def _onnx(subject: Subject, folder: Path) -> bytes:
    """The subject's graph. It is exported once, because the export takes longer than a row."""
    file = folder / f"{subject.name}.onnx"
    if not file.exists():
        file.write_bytes(subject.onnx())
    return file.read_bytes()


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _peers(text: str) -> list[str]:
    names = (
        list(PEERS)
        if text == "all"
        else [name for name in text.split(",") if name not in ("", "none")]
    )
    if unknown := set(names) - PEERS.keys():
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(unknown)}; known are {', '.join(PEERS)}, all and none"
        )
    return names


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument(
        "--peers", type=_peers, default=[], help=f"all, none, or some of {','.join(PEERS)}"
    )
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    parser.add_argument(
        "--repeats", type=int, default=3, help="rounds; in each, every server is started once"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/serving-benchmark"), help="where rows are kept"
    )
    parser.add_argument("--page", action="store_true", help="write tables into docs/")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
