"""Answers served by day, predicted class and confidence bin, from the day sums: they remain when
answers are pruned.
"""

from collections import defaultdict

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import BIN_COUNT, IntArray
from monitoring.ledger.calibrations import CalibrationRow
from monitoring.ledger.schema import bin_day
from monitoring.ledger.statement import summed


def read_answers_by_day(
    connection: Connection, row: CalibrationRow, *, since_day: int, before_day: int
) -> list[tuple[int, IntArray]]:
    """Return (day, counts (K, BIN_COUNT)) of a calibration's days in [since_day, before_day),
    oldest first.
    """
    number = {f"predicted:{name}": index for index, name in enumerate(row.classes)}
    columns = bin_day.c
    wanted = (
        select(columns.day, columns.slice, columns.bin, summed(columns.served))
        .where(columns.calibration_id == row.calibration_id, columns.slice.in_(number))
        .where(columns.day >= since_day, columns.day < before_day)
        .group_by(columns.day, columns.slice, columns.bin)
    )
    days: dict[int, IntArray] = defaultdict(
        lambda: np.zeros((len(number), BIN_COUNT), dtype=np.int64)
    )
    for day, name, bin_number, served in connection.execute(wanted):
        days[day][number[name], bin_number] = int(served)
    return sorted(days.items(), key=lambda each: each[0])
