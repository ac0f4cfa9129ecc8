"""The recorder's speed, labels in bulk, searches, and reports on ten million predictions."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ledger.large import build, report_ms
from benchmarks.ledger.search import search_times
from benchmarks.ledger.writer import BATCH, Writer

WINDOWS = ("all", "days:7", "days:28")
READY = 4_000  # batches that are made before the clock starts
SECONDS = 4.0
LABELS, LABELS_AT_ONCE = 100_000, 10_000


def main() -> None:
    """Run the chosen measurements."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument(
        "--answers", type=int, default=10_000_000, help="of the large ledger; 0 for none"
    )
    parser.add_argument(
        "--folder", type=Path, help="where to put ledgers; a large one found there is used again"
    )
    parser.add_argument("--search", type=int, metavar="N", help="only: searches of N answers")
    parser.add_argument("--url", help="the ledger of --search, which is filled if it is empty")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        if chosen.search:
            url = chosen.url or f"sqlite:///{Path(scratch) / 'ledger.db'}"
            print(*search_times(url, chosen.search), sep="\n", flush=True)
            return
        print(*_recorder(f"sqlite:///{Path(scratch) / 'ledger.db'}"), sep="\n", flush=True)
        if chosen.answers:
            path = (chosen.folder or Path(scratch)) / f"ledger-{chosen.answers}.db"
            if not path.exists():
                build(f"sqlite:///{path}", chosen.answers)
            for window in WINDOWS:
                first_ms, others_ms = report_ms(path, window=window)
                name = f"report over {chosen.answers:,}, window {window}"
                print(f"{name}: {others_ms:.1f} ms, the first {first_ms:.0f} ms")


def _recorder(url: str) -> Iterator[str]:
    writer = Writer(url, tagged=False)
    writer.record(writer.endless(), seconds=1)  # warm up
    for in_flight in (1, 4, 8):
        ready = [writer.rows(BATCH) for _ in range(READY)]
        began_s = time.perf_counter()
        rows = writer.record(ready, seconds=SECONDS, in_flight=in_flight)
        rate = len(rows) / (time.perf_counter() - began_s)
        yield f"predictions, {in_flight} batches of {BATCH} in flight: {rate:,.0f} per second"
    rows = writer.record([writer.rows(LABELS)])
    began_s = time.perf_counter()
    writer.label(rows, at_once=LABELS_AT_ONCE)
    rate = LABELS / (time.perf_counter() - began_s)
    yield f"labels in lists of {LABELS_AT_ONCE:,}: {rate:,.0f} per second"
    writer.close()


if __name__ == "__main__":
    main()
