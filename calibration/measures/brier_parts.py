"""The parts of the Brier score: is it bad because of calibration, or because the model cannot
separate the cases?

Source: Murphy 1973, "A new vector partition of the probability score". The term within bins,
without which the parts do not add up: Stephenson, Coelho and Jolliffe 2008, "Two extra components
in the Brier score decomposition".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.bins import BinSums


@dataclass(frozen=True)
class BrierParts:
    """brier = reliability - resolution + uncertainty + within, exactly.

    Attributes:
        reliability: squared distance between mean probability and frequency, per bin; 0 is
            calibrated.
        resolution: squared distance between each bin's frequency and the overall one; higher is
            better.
        uncertainty: variance of the labels, which no model can change.
        within: differences inside bins: variance of the probabilities minus twice their covariance
            with the labels.
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
    """Decompose the Brier score over all classes, given `calibration.classwise.class_sums`; NaN
    without data.

    Given the sums of one event, (p, c) in [0, 1] x {0, 1}, it returns the parts of mean (p - c)^2.

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
    # Inside bins: variance of c - p minus variance of c.
    within = ((sums.squared_error[filled] - gap**2 / n) - (correct - correct**2 / n)).sum() / total
    return float(reliability), float(resolution), float(rate * (1 - rate)), float(within)
