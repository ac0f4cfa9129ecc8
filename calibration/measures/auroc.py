"""Area under the ROC curve: how often a positive case scores above a negative one (Hanley and
McNeil 1982).

It depends on the order of the scores alone: a model with an AUROC of 1 can be badly miscalibrated.
It says whether there is anything to calibrate.
"""

import math

import numpy as np
import numpy.typing as npt


def auroc(score: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """P(score of a positive > score of a negative) + half of P(equal), in [0, 1]; NaN without
    positives or negatives.

    Args:
        score: (N,) any numbers.
        truth: (N,) bool.

    Raises:
        ValueError: the two differ in shape.

    >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    s, t = np.asarray(score), np.asarray(truth, dtype=bool)
    if s.shape != t.shape or s.ndim != 1:
        raise ValueError(f"score {s.shape} and truth {t.shape} must both be of shape (N,)")
    negative, positive = np.sort(s[~t]), np.sort(s[t])  # a search for sorted values is faster
    if not (negative.size and positive.size):
        return math.nan
    below, at_most = (
        np.searchsorted(negative, positive, side=side).sum() for side in ("left", "right")
    )
    return float((below + at_most) / 2 / negative.size / positive.size)


def class_auroc(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """AUROC of class 1 for two classes; for more, the mean over each class against the rest (macro
    average).

    Args:
        probabilities: (N, K).
        labels: (N,) integers. The mean leaves out a class that no answer has, or that every answer
            has.

    >>> class_auroc([[0.9, 0.1], [0.2, 0.8]], [0, 1])
    1.0
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.shape[1] == 2:
        return auroc(p[:, 1], y == 1)
    each = [auroc(p[:, k], y == k) for k in range(p.shape[1])]
    known = [value for value in each if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
