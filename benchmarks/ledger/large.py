"""A ledger of ten million answers, filled by direct inserts, and the cost of a report on it."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from benchmarks.ledger.model import CLASSES, MODEL
from calibration.bins import bin_index
from monitoring.ledger import Ledger
from monitoring.ledger.schema import DAY_NS, feedback, label_current, prediction
from monitoring.ledger.statement import inserting
from monitoring.ledger.sum_tables import SumKey, add_sums
from monitoring.logged.declaration import declare
from monitoring.reports.report import calibration_report

DAYS = 365
SITES = 20
LABELED = 0.2
_PORTION = 100_000
_PUT = {table: inserting(table) for table in (prediction, feedback, label_current)}


def build(path: Path, answers: int, *, say: Callable[[str], None] = print) -> None:
    """Fill a ledger with calibrated answers over a year from twenty sites, a fifth of them labeled
    within a day.
    """
    rng = np.random.default_rng(0)
    first_day = time.time_ns() // DAY_NS - DAYS + 1
    with Ledger(f"sqlite:///{path}") as ledger:
        with ledger.write() as connection:
            row = declare(connection, MODEL, now_ns=ledger.clock())
        number = 0
        for start in range(0, answers, _PORTION):
            with ledger.write() as connection:
                count = min(_PORTION, answers - start)
                served_ns = (
                    first_day * DAY_NS
                    + np.sort(start + rng.random(count) * count) / answers * DAYS * DAY_NS
                )
                number = _insert(
                    connection, rng, row.watched_version_id, served_ns.astype(np.int64), number
                )
            if start % (10 * _PORTION) == 0:
                say(f"{start:,} of {answers:,}")


def _insert(
    connection: Connection,
    rng: np.random.Generator,
    watched_version_id: int,
    served_ns: np.ndarray,
    number: int,
) -> int:
    count = len(served_ns)
    p = rng.uniform(0.5, 1.0, count).astype(np.float32)
    predicted, site = rng.integers(0, 2, count), rng.integers(0, SITES, count)
    labeled = rng.random(count) < LABELED
    correct = rng.random(count) < p
    noise = os.urandom(10 * count)
    ids = [
        (at // 1_000_000).to_bytes(6, "big") + noise[10 * i : 10 * i + 10]
        for i, at in enumerate(served_ns.tolist())
    ]
    vectors = np.stack([1 - p, p], axis=1).astype("<f4")
    tags = [json.dumps({"site": f"s{index:02}"}) for index in range(SITES)]
    confidence, classes, sites = p.astype(float).tolist(), predicted.tolist(), site.tolist()
    _PUT[prediction].run(
        connection,
        [
            (
                ids[i],
                watched_version_id,
                None,
                classes[i],
                confidence[i],
                vectors[i].tobytes(),
                at,
                tags[sites[i]],
                None,
            )
            for i, at in enumerate(served_ns.tolist())
        ],
    )
    chosen = np.flatnonzero(labeled).tolist()
    truth = np.where(correct, predicted, 1 - predicted).tolist()
    right = correct.astype(int).tolist()
    numbered = list(enumerate(chosen, start=number + 1))
    _PUT[feedback].run(
        connection,
        [
            (
                n,
                ids[i],
                watched_version_id,
                0,
                truth[i],
                right[i],
                None,
                None,
                int(served_ns[i]) + DAY_NS // 2,
            )
            for n, i in numbered
        ],
    )
    _PUT[label_current].run(
        connection,
        [
            (ids[i], watched_version_id, n, 0, truth[i], right[i], confidence[i])
            for n, i in numbered
        ],
    )
    totals: dict[SumKey, list[float]] = {}
    columns = _columns(p.astype(np.float64), correct, labeled)
    days, bins = (served_ns // DAY_NS).astype(np.int64), bin_index(p.astype(np.float64))
    truths = np.array(truth)
    for name, members in _slices(predicted, site, truths, labeled):
        for day in np.unique(days[members]).tolist():
            for bin_number in range(15):
                inside = members & (days == day) & (bins == bin_number)
                if inside.any():
                    sums = columns[:, inside].sum(axis=1).tolist()
                    if name.startswith("true:"):
                        sums[:2] = [0, 0.0]
                    totals[SumKey(watched_version_id, name, day, bin_number)] = sums
    add_sums(connection, totals)
    return number + len(chosen)


def _columns(p: np.ndarray, correct: np.ndarray, labeled: np.ndarray) -> np.ndarray:
    """(7, N): served, served_confidence, n, confidence, correct, variance, squared_error."""
    one = np.ones_like(p)
    terms = [one, p, one * labeled, p * labeled, correct * labeled, p * (1 - p) * labeled]
    return np.stack([*terms, (correct - p) ** 2 * labeled])


def _slices(
    predicted: np.ndarray, site: np.ndarray, truth: np.ndarray, labeled: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    yield "", np.ones(len(predicted), dtype=bool)
    for index, name in enumerate(CLASSES):
        yield f"predicted:{name}", predicted == index
        yield f"true:{name}", (truth == index) & labeled
    for index in range(SITES):
        yield f"tag:site=s{index:02}", site == index


def report_ms(path: Path, *, window: str, repeats: int = 9) -> float:
    """Median milliseconds of one report."""
    taken = []
    with Ledger(f"sqlite:///{path}") as ledger:
        for _ in range(repeats):
            started = time.perf_counter()
            calibration_report(ledger, MODEL.model, window=window)
            taken.append(1e3 * (time.perf_counter() - started))
    return float(np.median(taken))
