"""Risk and coverage: what the error rate becomes when the least confident answers are left to a person.

Source: Geifman and El-Yaniv 2017, "Selective classification for deep neural networks"; excess area from Geifman, Uziel
and El-Yaniv 2019, "Bias-reduced uncertainty estimation". They judge the order of the confidences, not their values: a
monotone change, temperature for two classes among them, leaves them as they are.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The curve, one point per distinct confidence from the highest down: answers at `threshold` or above are kept.

    Attributes:
        threshold: (U,) confidences, falling.
        coverage: (U,) share of answers kept, rising to 1.
        risk: (U,) share of wrong answers among those kept.
    """

    threshold: FloatArray
    coverage: FloatArray
    risk: FloatArray


def risk_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> RiskCoverage:
    """Return the curve of confidences (N,) and correctness (N,).

    >>> risk_coverage([0.9, 0.6, 0.6], [True, True, False]).coverage.round(2)
    array([0.33, 1.  ])
    """
    p, kept, wrong = _steps(confidence, correct)
    return RiskCoverage(p, kept / max(len(np.asarray(correct)), 1), wrong / kept)


def aurc(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Area under the risk-coverage curve, in [0, 1]: the mean error rate over all N coverages; NaN of no data.

    Equal confidences stand in no order, so their mean over all orders is taken.

    >>> aurc([0.9, 0.8], [True, False])
    0.25
    """
    _, kept, wrong = _steps(confidence, correct)
    if not kept.size:
        return math.nan
    size, errors = np.diff(kept, prepend=0), np.diff(wrong, prepend=0)  # of each group of equals
    before, wrong_before = np.repeat(kept - size, size), np.repeat(wrong - errors, size)
    position = np.arange(1, kept[-1] + 1)
    expected = wrong_before + (position - before) * np.repeat(errors / size, size)
    return float((expected / position).mean())


def excess_aurc(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """AURC above that of a perfect order of the same answers, all wrong ones last; 0 is best, NaN of no data."""
    c = np.asarray(correct, dtype=bool)
    return aurc(confidence, c) - aurc(c.astype(np.float64), c)


def _steps(
    confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct confidences from the highest down (U,), and how many answers, and wrong ones, lie at each or above."""
    p, c = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if p.shape != c.shape or p.ndim != 1:
        raise ValueError(f"confidence {p.shape} and correct {c.shape} must both be of shape (N,)")
    order = np.argsort(-p)
    p, wrong = p[order], np.cumsum(~c[order])
    last = np.flatnonzero(np.append(p[1:] != p[:-1], True)) if p.size else np.empty(0, dtype=np.int64)
    return p[last], (last + 1).astype(np.int64), wrong[last].astype(np.int64)
