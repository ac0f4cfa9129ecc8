"""Figures of the labeled answers with every confidence bin at the weight of the answers *served* in
it.

This corrects labels that favor answers of low (or high) confidence. It does not correct labels that
favor wrong answers, and says nothing about bins without labels.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.bins import BinSums
from calibration.measures.metrics import Z95

# With fewer labels in a bin of high confidence the normal approximation is too optimistic.
_FEW_IN_BIN = 30
_NOTABLE = 0.05  # of the weight


@dataclass(frozen=True)
class PostStratified:
    """Figures over the bins that have labels, NaN if none has.

    `covered`: the share of the answers served in them; `fewest_labels`: in any bin that holds 5 %
        of these or more.
    """

    covered: float
    fewest_labels: int
    ece: float
    accuracy: float
    accuracy_deviation: float
    signed_gap: float
    signed_gap_deviation: float

    @property
    def is_one_sided(self) -> bool:
        """Whether the signed gap's 95 % interval excludes 0, and not for want of labels."""
        return (
            self.fewest_labels >= _FEW_IN_BIN
            and abs(self.signed_gap) > Z95 * self.signed_gap_deviation
        )


def post_stratify(labeled: BinSums, served: npt.ArrayLike) -> PostStratified:
    """Weight the bins that have labels by the answers served in them.

    >>> sums = BinSums.from_predictions([0.9, 0.9, 0.4], [True, False, False], bin_count=2)
    >>> round(post_stratify(sums, [3, 1]).ece, 3)   # 3/4 of |.4| and 1/4 of |.4|
    0.4
    """
    answers, filled = np.asarray(served, dtype=np.float64), labeled.n > 0
    weight, n = answers[filled], labeled.n[filled].astype(np.float64)
    if not weight.sum():
        return PostStratified(0.0, 0, *(math.nan,) * 5)
    share = weight / weight.sum()
    difference, correct = labeled.difference[filled], labeled.correct[filled]
    rate = (correct + 1) / (n + 2)  # all right, or all wrong, is not taken as certain
    of_rate = rate * (1 - rate)
    seen = np.maximum(labeled.squared_error[filled] / n - (difference / n) ** 2, of_rate)
    return PostStratified(
        covered=float(weight.sum() / answers.sum()),
        fewest_labels=int(n[share >= _NOTABLE].min()) if (share >= _NOTABLE).any() else 0,
        ece=float((share * np.abs(difference) / n).sum()),
        accuracy=float((share * correct / n).sum()),
        accuracy_deviation=math.sqrt(float((share**2 * of_rate / n).sum())),
        signed_gap=float(-(share * difference / n).sum()),
        signed_gap_deviation=math.sqrt(
            float((share**2 * np.maximum(labeled.variance[filled] / n, seen) / n).sum())
        ),
    )
