"""`python -m benchmarks.serving.fronts`: what an answer costs each process of Candor, by the number
of fronts.

The busiest process is the limit, however many cores there are: a process that spends 50 µs on an
answer gives at most 20,000 a second. So the processor times of a small machine tell what a large
one can give: what one front gives at most, what the main process does, and how many fronts it takes
before that is the limit.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.serving import candor
from benchmarks.serving.exchange import Request
from benchmarks.serving.process import Process, free_ports, running
from benchmarks.serving.row import load
from benchmarks.serving.subjects import SUBJECTS, Subject
from model_store.store.store import Store


@dataclass(frozen=True)
class Measured:
    """One load: answers per second, the median latency in ms, and processor µs of each process for
    one answer.

    `memory_mb` is that of all processes, pages that they share counted in each.
    """

    answers_per_s: float
    p50_ms: float
    main_us: float
    fronts_us: tuple[float, ...]
    memory_mb: float

    @property
    def front_us(self) -> float:
        """Processor µs of a front for an answer that goes through it; 0 without fronts."""
        return sum(self.fronts_us)

    @property
    def front_per_s(self) -> float:
        """What one front gives at most; 0 without fronts."""
        return 1e6 / self.front_us if self.fronts_us else 0.0

    @property
    def limit_per_s(self) -> float:
        """What the main process, or the fronts if they are equally busy, give at most."""
        return 1e6 / max(self.main_us, self.front_us / max(1, len(self.fronts_us)))

    @property
    def fronts_needed(self) -> float:
        """How many fronts keep the main process busy."""
        return self.front_us / self.main_us


def main() -> None:
    """Measure, print a table."""
    options = _options()
    rows: dict[tuple[int, str, int], list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        onnx = Path(name) / "model.onnx"
        onnx.write_bytes(SUBJECTS[options.subject].onnx())
        for number in range(options.repeats):
            for ledger in options.ledger:
                for fronts in options.fronts:
                    folder = Path(name) / f"{number}-{ledger}-{fronts}"
                    for connections, measured in _measure(
                        folder, onnx, options, ledger=ledger, fronts=fronts
                    ):
                        rows.setdefault((fronts, ledger, connections), []).append(measured)
    columns = (
        "fronts",
        "ledger",
        "connections",
        "answers/s",
        "p50 ms",
        "main µs",
        "front µs",
        "one front, answers/s",
    )
    print(
        f"| {' | '.join(columns)} | limit, answers/s | fronts that keep main busy | MB "
        f"|\n{'|---' * 11}|"
    )
    for key in sorted(rows, key=lambda key: (key[1], key[2], key[0])):
        print(_row(key, rows[key]))
    result = [{"of": key, "rounds": [vars(each) for each in found]} for key, found in rows.items()]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1))


def _measure(
    folder: Path, onnx: Path, options: argparse.Namespace, *, ledger: str, fronts: int
) -> Iterator[tuple[int, Measured]]:
    subject = SUBJECTS[options.subject]
    _prepare(folder, subject, onnx.read_bytes())
    (port,) = free_ports(1)
    environment = candor.environment(folder, port=port, ledger=ledger == "on") | {
        "CANDOR_FRONTS": str(fronts)
    }
    process = Process(candor.COMMAND, port=port, folder=folder, environment=environment)
    with running(process):
        process.first_answer_s(_request(subject, subject.samples()[0]))
        process.wait_for(fronts if fronts > 1 else 0, b"serving.process.front")
        for connections in options.connections:
            yield (
                connections,
                _loaded(process, folder, connections=connections, seconds=options.seconds),
            )


def _loaded(process: Process, folder: Path, *, connections: int, seconds: float) -> Measured:
    before = process.cpu_s_by_process(b"serving.process.front")
    result = load(process.port, folder, connections=connections, seconds=seconds)
    after = process.cpu_s_by_process(b"serving.process.front")
    cost_us = {
        pid: 1e6 * (after[pid] - before.get(pid, 0.0)) / max(1, result["answered"]) for pid in after
    }
    fronts_us = tuple(cost for pid, cost in cost_us.items() if pid != process.pid)
    return Measured(
        result["requests_per_s"],
        result["p50_ms"],
        cost_us[process.pid],
        fronts_us,
        memory_mb=process.rss_mb(),
    )


def _prepare(folder: Path, subject: Subject, onnx: bytes) -> None:
    (folder / "requests").mkdir(parents=True)
    candor.publish(Store(folder / "store"), subject, onnx)
    candor.compile_modules()
    for number, image in enumerate(subject.samples()):
        (folder / "requests" / f"{number}.request").write_bytes(_request(subject, image).encode())


def _request(subject: Subject, image: bytes) -> Request:
    return Request(f"/predictions/{subject.name}", "image/any", image)


def _row(key: tuple[int, str, int], found: list[Measured]) -> str:
    fronts, ledger, connections = key
    middle = partial(_median, found)
    return (
        f"| {fronts} | {ledger} | {connections} | {middle('answers_per_s'):,.0f} | "
        f"{middle('p50_ms'):.2f} | "
        f"{middle('main_us'):.0f} | {middle('front_us'):.0f} | {middle('front_per_s'):,.0f} | "
        f"{middle('limit_per_s'):,.0f} | {middle('fronts_needed'):.1f} | "
        f"{middle('memory_mb'):.0f} |"
    )


def _median(found: list[Measured], name: str) -> float:
    return float(median(getattr(each, name) for each in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.fronts", description=__doc__
    )
    parser.add_argument("--fronts", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--ledger", nargs="+", choices=["on", "off"], default=["on", "off"])
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--subject", choices=SUBJECTS, default="tiny")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    parser.add_argument(
        "--repeats", type=int, default=5, help="rounds; in each, every server is started once"
    )
    parser.add_argument("--out", type=Path, default=Path("build/fronts-benchmark/result.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
