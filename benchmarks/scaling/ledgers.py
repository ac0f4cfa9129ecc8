"""What answers and labels cost in a ledger: processor time, bytes on disk, and the most rows a
second.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, text

from benchmarks.scaling.processes import postmaster, tree_cpu_s
from benchmarks.scaling.writer import Writer

ROWS = 100_000
WRITERS = (1, 2, 4)


@dataclass(frozen=True)
class RowCost:
    """Of a thousand rows: processor seconds of the client and of the database's own processes,
    bytes on disk.
    """

    client_cpu_s: float
    database_cpu_s: float
    bytes: float
    rows_per_s: float


@dataclass(frozen=True)
class LedgerCost:
    """The costs of one database. `most_rows_per_s` is by the number of processes that write at the
    same time.
    """

    database: str
    answers: RowCost
    labels: RowCost
    log_bytes: float
    most_rows_per_s: dict[int, float]
    busy_database_cpu_s: float


def measure(url: str, *, seconds: float) -> LedgerCost:
    """The costs in the database at `url`, which should be empty."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        size, own_cpu_s, log = _sqlite(Path(engine.url.database or "")), _nothing, _nothing
    else:
        pid = postmaster(engine)
        size, own_cpu_s, log = _postgres(engine), lambda: tree_cpu_s(pid), _log(engine)
    writer = Writer(url)
    log_before = log()
    answers = _cost(lambda: writer.answers(count=ROWS), size, own_cpu_s)
    log_bytes = (log() - log_before) / ROWS * 1000
    labels = _cost(writer.labels, size, own_cpu_s)
    writer.close()
    used_s, most = own_cpu_s(), {count: _together(url, count, seconds) for count in WRITERS}
    busy = (own_cpu_s() - used_s) / sum(each["rows"] for each in most.values()) * 1000
    rates = {count: round(each["rows_per_s"]) for count, each in most.items()}
    return LedgerCost(engine.dialect.name, answers, labels, log_bytes, rates, busy)


def as_json(cost: LedgerCost) -> dict[str, Any]:
    """The costs as JSON takes them."""
    return asdict(cost)


def _cost(
    work: Callable[[], int], size: Callable[[], float], own_cpu_s: Callable[[], float]
) -> RowCost:
    before, database_s = size(), own_cpu_s()
    began_s, used_s = time.perf_counter(), time.process_time()
    rows = work()
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - used_s
    each = 1000 / rows
    return RowCost(
        cpu_s * each,
        (own_cpu_s() - database_s) * each,
        max(0.0, size() - before) * each,
        round(rows / took_s),
    )


def _together(url: str, count: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scaling.writer", url, str(seconds)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    results = [json.loads(writer.communicate()[0]) for writer in writers]
    return {
        "rows": sum(each["rows"] for each in results),
        "rows_per_s": sum(each["rows"] / each["wall_s"] for each in results),
    }


def _nothing() -> float:
    return 0.0


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
