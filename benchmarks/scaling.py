"""python -m benchmarks.scaling: what a thousand answers and labels cost in a ledger: processor
time, bytes on disk, rows a second. docs/scaling.md computes days of up to a billion from it.

Without --postgres only SQLite is measured. The database should be empty, on this machine, and a
user that may connect to it as the URL says.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from benchmarks.ledger.writer import BATCH, Writer
from benchmarks.processes import PARENT, cpu_s, status
from monitoring.ledger import Ledger, PredictionRow
from monitoring.maintenance.retention import prune

ROWS = 100_000
LABELS_AT_ONCE = 2_000
WRITERS = (1, 2, 4)


@dataclass(frozen=True)
class RowCost:
    """Of a thousand rows: processor seconds of client and database, bytes on disk."""

    client_cpu_s: float
    database_cpu_s: float
    bytes: float


@dataclass(frozen=True)
class LedgerCost:
    """The costs of one database; `most_rows_per_s` by processes that write at the same time."""

    database: str
    answers: RowCost
    labels: RowCost
    log_bytes: float
    most_rows_per_s: dict[int, int]
    pruned_per_s: int


def measure(url: str, *, seconds: float) -> LedgerCost:
    """The costs in the database at `url`, which should be empty."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        size, own_cpu_s, log = _sqlite(Path(engine.url.database or "")), _nothing, _nothing
    else:
        pid = _postmaster(engine)
        size, own_cpu_s, log = _postgres(engine), lambda: cpu_s(pid), _log(engine)
    writer, recorded = Writer(url), list[PredictionRow]()

    def record() -> None:
        recorded.extend(writer.record(itertools.islice(writer.endless(), ROWS // BATCH)))

    log_before = log()
    answers = _cost(record, size, own_cpu_s)
    log_bytes = (log() - log_before) / ROWS * 1000
    labels = _cost(lambda: writer.label(recorded, at_once=LABELS_AT_ONCE), size, own_cpu_s)
    writer.close()
    pruned_per_s = round(_pruned_per_s(url))
    rates = {count: round(_rows_per_s(url, count, seconds)) for count in WRITERS}
    return LedgerCost(engine.dialect.name, answers, labels, log_bytes, rates, pruned_per_s)


def _cost(
    work: Callable[[], None], size: Callable[[], float], own_cpu_s: Callable[[], float]
) -> RowCost:
    """The cost of `work` on ROWS rows."""
    before, database_s, used_s = size(), own_cpu_s(), time.process_time()
    work()
    each = 1000 / ROWS
    return RowCost(
        (time.process_time() - used_s) * each,
        (own_cpu_s() - database_s) * each,
        max(0.0, size() - before) * each,
    )


def _pruned_per_s(url: str) -> float:
    """Answers that are deleted a second, of all that were served before the day after tomorrow."""
    with Ledger(url) as ledger:
        began_s = time.perf_counter()
        pruned = prune(ledger, older_than_s=-2 * 86_400)
        return pruned.answers / (time.perf_counter() - began_s)


def _rows_per_s(url: str, count: int, seconds: float) -> float:
    """Rows a second of so many processes that write at the same time."""
    command = [sys.executable, "-m", "benchmarks.ledger.writer", url, str(seconds)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    results = [json.loads(writer.communicate()[0]) for writer in writers]
    return sum(each["rows"] / each["wall_s"] for each in results)


def _nothing() -> float:
    return 0.0


def _postmaster(engine: Engine) -> int:
    """The process id of the PostgreSQL server here: the parent of a connection's process."""
    with engine.connect() as connection:
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return int(status(backend)[PARENT])


def _sqlite(file: Path) -> Callable[[], float]:
    """The bytes of the file once its log is written back."""

    def size() -> float:
        if not file.exists():
            return 0.0
        engine = create_engine(f"sqlite:///{file}")
        with engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        engine.dispose()
        return float(file.stat().st_size)

    return size


def _postgres(engine: Engine) -> Callable[[], float]:
    return lambda: _scalar(engine, "SELECT pg_database_size(current_database())")


def _log(engine: Engine) -> Callable[[], float]:
    return lambda: _scalar(engine, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")


def _scalar(engine: Engine, statement: str) -> float:
    with engine.connect() as connection:
        return float(connection.execute(text(statement)).scalar_one())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--postgres", metavar="URL", help="an empty database on this machine")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        urls = [f"sqlite:///{folder}/ledger.db", *filter(None, [chosen.postgres])]
        costs = [asdict(measure(url, seconds=chosen.seconds)) for url in urls]
    json.dump(costs, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
