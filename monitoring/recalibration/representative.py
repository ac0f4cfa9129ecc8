"""Whether labels look chosen: the share of answers with a label should not depend on what was answered.

Chosen labels mislead a fit, and no weighting repairs what was never labeled. The test sees a choice by confidence or by
predicted class. It cannot see a choice by outcome, such as complaints about wrong answers; only an audit excludes that.
"""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from calibration.bins import BIN_COUNT
from calibration.confusion import chi_squared_deviations
from monitoring.ledger.sums import DAY_NS, read_slices

_MIN_SERVED = 30  # answers in a cell before its share is compared
_SIGNIFICANT = 4.0  # standard normal deviations: one false finding in 30,000 looks
_MIN_RATIO = 1.5  # between the highest and the lowest share; smaller differences hardly move a fit


@dataclass(frozen=True)
class UnevenLabels:
    """Two kinds of answers whose shares of labels differ most; each kind is named as in a sentence."""

    most: str
    most_share: float
    least: str
    least_share: float


def find_uneven_labels(
    connection: Connection, calibration_id: int, *, since_ns: int | None = None
) -> UnevenLabels | None:
    """Compare the shares of labeled answers by predicted class and confidence; None if chance explains them.

    Counts whole days from the day of `since_ns` on.
    """
    since_day = None if since_ns is None else since_ns // DAY_NS
    cells: list[tuple[str, int, int]] = []  # name, labeled, served
    for name, sums in read_slices(connection, calibration_id, since_day=since_day).items():
        if not name.startswith("predicted:"):
            continue
        for bin_number in np.flatnonzero(sums.served >= _MIN_SERVED):
            lower, upper = bin_number / BIN_COUNT, (bin_number + 1) / BIN_COUNT
            cell = f"{name.removeprefix('predicted:')!r} at confidence {lower:.2f} to {upper:.2f}"
            cells.append((cell, int(sums.labeled.n[bin_number]), int(sums.served[bin_number])))
    if len(cells) < 2:
        return None
    labeled, served = (np.array([cell[place] for cell in cells], dtype=np.float64) for place in (1, 2))
    pooled = labeled.sum() / served.sum()
    if not 0 < pooled < 1:
        return None
    statistic = float((((labeled - served * pooled) ** 2) / (served * pooled * (1 - pooled))).sum())
    freedom, shares = len(cells) - 1, labeled / served
    most, least = int(shares.argmax()), int(shares.argmin())
    if chi_squared_deviations(statistic, freedom) < _SIGNIFICANT or shares[most] < _MIN_RATIO * shares[least]:
        return None
    return UnevenLabels(cells[most][0], float(shares[most]), cells[least][0], float(shares[least]))
