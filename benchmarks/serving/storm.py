"""`python -m benchmarks.serving.storm`: many more connections than a server can answer, all
retrying at once.

One run measures 16 connections, then a storm of 512 that retry as soon as they are refused. After
the storm it measures how long a new client waits, and 16 connections again.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import uvloop

from benchmarks.serving.behavior import first_good_s
from benchmarks.serving.candor import COMMAND, environment, publish
from benchmarks.serving.exchange import Request
from benchmarks.serving.load import Crowd, Tally, quantile
from benchmarks.serving.process import Process, free_ports, running
from benchmarks.serving.subjects import SUBJECTS
from docs.generators.markdown import table
from model_store.store.store import Store

PEAK_CONNECTIONS, PEAK_S = 16, 10.0
STORM_CONNECTIONS = 512
OF_PEAK, RECOVERY_S, GROWTH_MB = 0.9, 1.5, 50.0
# Images that may wait, or a second; 20 % more than that.
WAITING, LEAST_S, SPARE = 64, 1.0, 1.2


class Always:
    """A window in which every answer counts."""

    def holds(self, _: float, *, good: bool) -> bool:
        """Always."""
        return True


async def drive(
    port: int, request: bytes, *, connections: int, seconds: float, warm_up_s: float = 0.0
) -> Tally:
    """Run `connections` for `seconds`, counted after the warm-up."""
    crowd = Crowd(port, [request])
    await asyncio.gather(*(crowd.join(number) for number in range(connections)))
    await asyncio.sleep(warm_up_s)
    crowd.window = Always()
    await asyncio.sleep(seconds)
    crowd.end()
    return crowd.tally


def p99_of_bound(tally: Tally) -> float:
    """The 99th percentile of each latency as a share of what 64 images needed just then, or of one
    second if that is more.

    What they needed is the time from the 64th answer before it. So a machine that slows down for a
    while does not count as a queue that is too long.
    """
    later = zip(tally.answered_s, tally.answered_s[WAITING:], strict=False)
    needed_s = (max(LEAST_S, now - then) for then, now in later)
    pairs = zip(tally.latencies_s[WAITING:], needed_s, strict=True)
    return quantile((took / needed for took, needed in pairs), 0.99)


def figures(
    process: Process, request: Request, *, seconds: float
) -> Iterator[tuple[str, str, str, bool]]:
    """What is measured, its figure, the goal, and whether that was met."""

    def run(connections: int, duration_s: float) -> Tally:
        load = drive(
            process.port,
            request.encode(),
            connections=connections,
            seconds=duration_s,
            warm_up_s=min(2.0, duration_s),
        )
        return uvloop.run(load)

    peaks, memory = [run(PEAK_CONNECTIONS, PEAK_S)], [process.rss_mb()]
    storms = []
    for _ in range(2):
        storms.append(run(STORM_CONNECTIONS, seconds / 2))
        memory.append(process.rss_mb())
    recovered_s = first_good_s(process.port, request) or float("inf")
    peaks.append(run(PEAK_CONNECTIONS, PEAK_S))
    peak = sum(tally.statuses[200] for tally in peaks) / (2 * PEAK_S)
    good = sum(tally.statuses[200] for tally in storms) / seconds
    waits = max(map(p99_of_bound, storms))
    statuses: Counter[int] = storms[0].statuses + storms[1].statuses
    yield "good answers a second at 16 connections", f"{peak:.1f}", "", True
    share = good / peak
    yield "of these in the storm", f"{share:.2f}", f">= {OF_PEAK}", share >= OF_PEAK
    text = "99th percentile, of what 64 images needed just then"
    yield text, f"{waits:.2f}", f"<= {SPARE}", waits <= SPARE
    text = "a newcomer's answer after the storm, s"
    yield text, f"{recovered_s:.2f}", f"<= {RECOVERY_S}", recovered_s <= RECOVERY_S
    sizes = " / ".join(f"{size:.0f}" for size in memory)
    text = "memory before / half way / after, MB"
    yield text, sizes, f"+ {GROWTH_MB:.0f} at most", memory[2] - memory[1] <= GROWTH_MB
    counts = ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items()))
    yield "answers by status", counts, "", True
    yield "connections that were closed", f"{sum(tally.closed for tally in storms):,}", "", True


def main() -> int:
    """Measure, print, return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.storm", description=__doc__)
    parser.add_argument("--subject", choices=SUBJECTS, default="resnet18")
    parser.add_argument("--minutes", type=float, default=0.5, help="length of the storm")
    chosen = parser.parse_args()
    subject = SUBJECTS[chosen.subject]
    with tempfile.TemporaryDirectory() as name:
        folder, (port,) = Path(name), free_ports(1)
        publish(Store(folder / "store"), subject, subject.onnx())
        settings = environment(folder, port=port, ledger=True)
        request = Request(f"/predictions/{subject.name}", "image/any", subject.samples()[0])
        with running(Process(COMMAND, port=port, folder=folder, environment=settings)) as process:
            process.first_answer_s(request)
            rows = list(figures(process, request, seconds=60 * chosen.minutes))
    print(table(("", "measured", "goal"), (row[:3] for row in rows)))
    missed = [name for name, _, _, met in rows if not met]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
