"""python -m benchmarks.ledger: the recorder's speed, labels in bulk, and reports on a ledger of ten
million answers.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.ledger.large import build, report_ms
from benchmarks.ledger.recorder import Bench
from benchmarks.ledger.upload import upload_rates

WINDOWS = ("all", "last:500", "last:100000", "days:30")


def main() -> None:
    """Run the chosen measurements."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument(
        "--answers", type=int, default=10_000_000, help="answers of the large ledger; 0 for none"
    )
    parser.add_argument(
        "--folder", type=Path, help="where to put ledgers; a large one found there is used again"
    )
    parser.add_argument(
        "--url", help="a database to measure the recorder on [default: SQLite in the folder]"
    )
    parser.add_argument(
        "--upload", type=int, metavar="N", help="only: N answers and as many labels over HTTP"
    )
    chosen = parser.parse_args()
    if chosen.upload:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
            for what, (of_cpu, of_clock) in upload_rates(Path(scratch), chosen.upload):
                print(
                    f"{what}: {of_cpu:,.0f} rows per CPU second, {of_clock:,.0f} per wall-clock "
                    "second"
                )
        return
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        _recorder(chosen.url or f"sqlite:///{Path(scratch) / 'ledger.db'}")
        if chosen.answers:
            path = (chosen.folder or Path(scratch)) / f"ledger-{chosen.answers}.db"
            if not path.exists():
                build(path, chosen.answers)
            for window in WINDOWS:
                print(
                    f"report over {chosen.answers:,} answers, window {window}: "
                    f"{report_ms(path, window=window):.1f} ms"
                )


def _recorder(url: str) -> None:
    bench = Bench(url)
    bench.answers_a_second(8, seconds=1)  # warm up
    for in_flight in (1, 4, 8):
        rows = bench.answers_a_second(in_flight, seconds=4)
        print(f"answers, {in_flight} batches of 16 in flight: {rows:,.0f} per second")
    median, p95 = bench.lone_latencies_ms(500)
    print(f"one answer alone: median {median:.2f} ms, 95th percentile {p95:.2f} ms")
    for count, at_once in ((2_000, 1), (100_000, 10_000)):
        labels = bench.labels_a_second(count, at_once=at_once)
        print(
            f"labels in lists of {at_once:,}: {labels:,.0f} per second, {1e6 / labels:.1f} us per "
            "label"
        )
    bench.close()


if __name__ == "__main__":
    main()
