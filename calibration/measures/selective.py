"""Risk and coverage: the error rate that remains when the least confident answers are referred to a
person.

Source: Geifman and El-Yaniv 2017, "Selective classification for deep neural networks"; excess area
from Geifman, Uziel and El-Yaniv 2019, "Bias-reduced uncertainty estimation". They depend on the
order of the confidences, not on their
values: a monotone change, such as temperature scaling of two classes, does not affect them.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The curve: one point per distinct confidence, from the highest down. Answers at `threshold`
    or above are kept.

    Attributes:
        threshold: (U,) confidences, decreasing.
        coverage: (U,) share of answers kept, increasing to 1.
        risk: (U,) share of wrong answers among the kept ones.
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
    """Area under the risk-coverage curve, in [0, 1]: the mean error rate over all N coverages; NaN
    without data.

    Equal confidences have no order, so the result is the mean over all their orders.

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
    """AURC minus the AURC of a perfect order (all wrong answers last); 0 is best, NaN without
    data.
    """
    c = np.asarray(correct, dtype=bool)
    return aurc(confidence, c) - aurc(c.astype(np.float64), c)


def _steps(
    confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct confidences from the highest down (U,), and how many answers and wrong answers are
    at each or above.
    """
    p, c = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if p.shape != c.shape or p.ndim != 1:
        raise ValueError(f"confidence {p.shape} and correct {c.shape} must both be of shape (N,)")
    order = np.argsort(-p)
    p, wrong = p[order], np.cumsum(~c[order])
    last = (
        np.flatnonzero(np.append(p[1:] != p[:-1], True)) if p.size else np.empty(0, dtype=np.int64)
    )
    return p[last], (last + 1).astype(np.int64), wrong[last].astype(np.int64)
