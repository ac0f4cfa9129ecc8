"""The Brier score taken apart: is it bad because of calibration, or because the model cannot tell cases apart?

Source: Murphy 1973, "A new vector partition of the probability score"; the term for what happens within bins, without
which the parts do not add up, from Stephenson, Coelho and Jolliffe 2008, "Two extra components in the Brier score
decomposition".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.bins import BinSums


@dataclass(frozen=True)
class BrierParts:
    """brier = reliability - resolution + uncertainty + within, exactly.

    Attributes:
        reliability: squared distance of mean probability and frequency, per bin; 0 is calibrated.
        resolution: squared distance of each bin's frequency and the overall one; more is better.
        uncertainty: variance of the truth itself, which no model can change.
        within: what differs inside bins: variance of the probabilities less twice their covariance with the truth.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float

    @property
    def brier(self) -> float:
        """The score the parts add up to."""
        return self.reliability - self.resolution + self.uncertainty + self.within


def brier_parts(classes: Sequence[BinSums]) -> BrierParts:
    """Take the Brier score over all classes apart, given `calibration.classwise.class_sums`; NaN of no data.

    The sums of one event alone, (p, c) in [0, 1] x {0, 1}, give the parts of mean (p - c)^2.

    >>> brier_parts([BinSums.from_predictions([0.9, 0.9], [True, False])]).uncertainty
    0.25
    """
    rows = np.array([_parts(sums) for sums in classes])  # (K, 4)
    return BrierParts(*rows.sum(axis=0).tolist())


def _parts(sums: BinSums) -> tuple[float, float, float, float]:
    if not sums.total:
        return (np.nan,) * 4
    filled, total = sums.n > 0, sums.total
    n, correct, gap = sums.n[filled], sums.correct[filled], sums.difference[filled]
    rate = correct.sum() / total
    reliability = (gap**2 / n).sum() / total
    resolution = (n * (correct / n - rate) ** 2).sum() / total
    # Variance of c - p less that of c, inside bins.
    within = ((sums.squared_error[filled] - gap**2 / n) - (correct - correct**2 / n)).sum() / total
    return float(reliability), float(resolution), float(rate * (1 - rate)), float(within)
