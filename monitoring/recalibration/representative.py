"""Whether labels look chosen: the share of answers with a label should not depend on what was
answered.

Chosen labels mislead a fit, and no weighting repairs what was never labeled. The test sees a choice
by confidence or by predicted class. It cannot see a choice by outcome, such as complaints about
wrong answers; only an audit excludes that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from calibration.bins import BIN_COUNT
from calibration.measures.confusion import chi_squared_deviations
from calibration.wording import percents
from monitoring.ledger.schema import DAY_NS
from monitoring.ledger.sums import read_slices
from monitoring.ledger.watched_version import WatchedVersion

_MIN_SERVED = 30  # answers in a cell before its share is compared
_SIGNIFICANT = 4.0  # standard normal deviations: one false finding in 30,000 looks
_MIN_RATIO = 1.5  # between the highest and the lowest share; smaller differences hardly move a fit


@dataclass(frozen=True)
class UnevenLabels:
    """The two kinds of answers whose shares of labels differ most, named as in a sentence."""

    most: str
    most_share: float
    least: str
    least_share: float


@dataclass(frozen=True)
class LabeledShare:
    """How many answers of a kind were served and labeled; `name` as in a sentence."""

    name: str
    labeled: int
    served: int


def find_uneven_labels(
    connection: Connection,
    row: WatchedVersion,
    *,
    since_ns: int | None = None,
) -> UnevenLabels | None:
    """Compare the shares of labeled answers by class and confidence, of a finding by confidence;
    None if chance explains.

    Counts whole days from the day of `since_ns` on.
    """
    since_day = None if since_ns is None else since_ns // DAY_NS
    shares: list[LabeledShare] = []
    for name, sums in read_slices(connection, row.watched_version_id, since_day=since_day).items():
        if (claim := row.claim_of(name)) is not None:
            shares += shares_by_bin(claim, sums.labeled.n, sums.served)
    return compare_shares(shares)


def shares_by_bin(
    predicted: str, labeled: npt.NDArray[np.integer], served: npt.NDArray[np.integer]
) -> list[LabeledShare]:
    """Return the bins with enough answers, from counts (B,) of one class's answers."""
    return [
        LabeledShare(
            f"{predicted!r} at confidence "
            f"{percents(number / BIN_COUNT, (number + 1) / BIN_COUNT, 0)}",
            int(labeled[number]),
            int(served[number]),
        )
        for number in np.flatnonzero(served >= _MIN_SERVED)
    ]


def compare_shares(shares: Sequence[LabeledShare]) -> UnevenLabels | None:
    """Return the kinds labeled most and least often; None if chance explains the difference.

    >>> found = compare_shares([LabeledShare("sure", 10, 1000), LabeledShare("unsure", 300, 1000)])
    >>> found.most, found.most_share
    ('unsure', 0.3)
    """
    if len(shares) < 2:
        return None
    labeled = np.array([each.labeled for each in shares], dtype=np.float64)
    served = np.array([each.served for each in shares], dtype=np.float64)
    pooled = labeled.sum() / served.sum()
    if not 0 < pooled < 1:
        return None
    statistic = float((((labeled - served * pooled) ** 2) / (served * pooled * (1 - pooled))).sum())
    ratios = labeled / served
    most, least = int(ratios.argmax()), int(ratios.argmin())
    if (
        chi_squared_deviations(statistic, len(shares) - 1) < _SIGNIFICANT
        or ratios[most] < _MIN_RATIO * ratios[least]
    ):
        return None
    return UnevenLabels(
        shares[most].name, float(ratios[most]), shares[least].name, float(ratios[least])
    )
