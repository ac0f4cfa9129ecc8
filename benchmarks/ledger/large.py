"""A ledger of ten million predictions of a year, and the cost of a report on it."""

import time
from pathlib import Path

import numpy as np

from benchmarks.ledger.writer import MODEL, Writer
from monitoring.ledger import Ledger
from monitoring.ledger.schema import DAY_NS
from monitoring.reports.report import calibration_report

DAYS = 365
LABELED_EVERY = 5
_PORTION = 4096


def build(url: str, count: int) -> None:
    """Record calibrated predictions in the order in which they were served, and label them."""
    end_ns = time.time_ns()
    served_ns = np.linspace(end_ns - DAYS * DAY_NS, end_ns, count, dtype=np.int64)
    writer = Writer(url)
    for start in range(0, count, _PORTION):
        portion = served_ns[start : start + _PORTION].tolist()
        rows = writer.record([writer.rows(len(portion), served_ns=portion)])
        writer.label(rows[::LABELED_EVERY], at_once=_PORTION)
        if start % (256 * _PORTION) == 0:
            print(f"{start:,} of {count:,}", flush=True)
    writer.close()


def report_ms(path: Path, *, window: str, repeats: int = 10) -> tuple[float, float]:
    """Milliseconds of the first report, which diagnoses the labels, and the others' median."""
    taken = []
    with Ledger(f"sqlite:///{path}") as ledger:
        for _ in range(repeats):
            started = time.perf_counter()
            calibration_report(ledger, MODEL.model, window=window)
            taken.append(1e3 * (time.perf_counter() - started))
    return taken[0], float(np.median(taken[1:]))
