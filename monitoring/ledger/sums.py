"""The sums per day and confidence bin: what one transaction adds to them, and how they are read back.
 Everything a report says follows from these sums, so it costs the same over ten thousand answers as over ten
million.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, func, select

from calibration.bins import BIN_COUNT, BinSums
from monitoring.ledger.schema import bin_day
from monitoring.ledger.statement import adding

DAY_NS = 86_400_000_000_000


class Cell(NamedTuple):
    """Where an answer is counted: its calibration, the UTC day it was served on, the bin of its confidence."""

    calibration_id: int
    day: int
    bin: int


class Counted(NamedTuple):
    """An answer as the sums see it."""

    cell: Cell
    confidence: float


@dataclass
class SumChanges:
    """What one transaction adds. Values are lists to add up in place, in the order that their names say."""

    served: dict[Cell, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0.0]))
    labeled: dict[Cell, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0.0, 0, 0.0, 0.0]))
    corrected: dict[Cell, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0.0]))

    def serve(self, answer: Counted) -> None:
        """An answer was given: served, served_confidence."""
        sums = self.served[answer.cell]
        sums[0] += 1
        sums[1] += answer.confidence

    def label(self, answer: Counted, correct: bool) -> None:
        """An answer got its first label: n, confidence, correct, variance, squared_error."""
        sums, p = self.labeled[answer.cell], answer.confidence
        sums[0] += 1
        sums[1] += p
        sums[2] += correct
        sums[3] += p * (1 - p)
        sums[4] += (correct - p) ** 2

    def correct(self, answer: Counted, correct: bool) -> None:
        """A label changed its mind so that the answer is now (in)correct: to correct, to incorrect, squared_error."""
        sums, p = self.corrected[answer.cell], answer.confidence
        sums[0 if correct else 1] += 1
        sums[2] += (1 - 2 * p) if correct else (2 * p - 1)

    def save(self, connection: Connection) -> None:
        """Add all of it to the ledger."""
        rows = []
        for cell in self.served.keys() | self.labeled.keys() | self.corrected.keys():
            served = self.served.get(cell, (0, 0.0))
            n, confidence, correct, variance, squared_error = self.labeled.get(cell, (0, 0.0, 0, 0.0, 0.0))
            to_correct, to_incorrect, moved = self.corrected.get(cell, (0, 0, 0.0))
            correct += to_correct - to_incorrect
            rows.append((*cell, *served, n, confidence, correct, variance, squared_error + moved))
        _ADD.run(connection, rows)


_ADD = adding(bin_day)


@dataclass(frozen=True)
class CalibrationSums:
    """All days of one calibration: sums of the labeled answers, and of all that were served ((M,) arrays)."""

    labeled: BinSums
    served: np.ndarray
    served_confidence: np.ndarray


def read_sums(connection: Connection, calibration_id: int) -> CalibrationSums:
    """Add up the days of a calibration."""
    added = [func.sum(column).label(column.name) for column in bin_day.columns if not column.primary_key]
    wanted = select(bin_day.c.bin, *added).where(bin_day.c.calibration_id == calibration_id).group_by(bin_day.c.bin)
    return _as_arrays(row._asdict() for row in connection.execute(wanted))


def _as_arrays(rows: Iterable[dict[str, Any]]) -> CalibrationSums:
    found = {row["bin"]: row for row in rows}
    empty = {column.name: 0 for column in bin_day.columns}
    filled = [found.get(bin_number, empty) for bin_number in range(BIN_COUNT)]
    return CalibrationSums(
        labeled=BinSums.from_rows(filled),
        served=np.array([row["served"] for row in filled], dtype=np.int64),
        served_confidence=np.array([row["served_confidence"] for row in filled], dtype=np.float64),
    )
