"""python -m tests.soak: 50 kills of server and database on each database (about half an hour), then the fuzz."""

import argparse
import tempfile
import time
from pathlib import Path

from tests.soak.fuzz import fuzz
from tests.soak.soak import soak


def main() -> None:
    """Run it and print a line a kill."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="kills a database")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--requests", type=int, default=100_000, help="broken requests; a tenth are hypothesis's")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    databases = ["sqlite", "postgresql"] if chosen.database == "both" else [chosen.database]
    for database in databases if chosen.kills else []:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="candor-soak-") as folder:
            outcomes = soak(
                Path(folder), database, kills=chosen.kills, seed=chosen.seed, say=lambda line: print(line, flush=True)
            )
        last = outcomes[-1]
        print(
            f"{database}: {len(outcomes)} kills in {time.monotonic() - started:.0f} s, {last.answers:,} answers and "
            f"{last.labels:,} labels acknowledged, none lost, none counted twice",
            flush=True,
        )
    if chosen.requests:
        tenth = chosen.requests // 10
        with tempfile.TemporaryDirectory(prefix="candor-fuzz-") as folder:
            found = fuzz(Path(folder), requests=9 * tenth, examples=tenth, seed=chosen.seed, say=lambda _: None)
        print(f"fuzz: {found}; no 5xx, no trace, no neighbor harmed", flush=True)


if __name__ == "__main__":
    main()
