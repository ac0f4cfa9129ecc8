"""Area under the ROC curve: how often a positive case scores above a negative one (Hanley and McNeil 1982).

It judges order alone: a model can have an AUROC of 1 and be wildly miscalibrated. It says whether there is anything to
calibrate.
"""

import math

import numpy as np
import numpy.typing as npt


def auroc(score: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """P(score of a positive > score of a negative) + half of P(equal), in [0, 1]; NaN where one kind is missing.

    Args:
        score: (N,) any numbers.
        truth: (N,) bool.

    >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    s, t = np.asarray(score), np.asarray(truth, dtype=bool)
    if s.shape != t.shape or s.ndim != 1:
        raise ValueError(f"score {s.shape} and truth {t.shape} must both be of shape (N,)")
    negative, positive = np.sort(s[~t]), np.sort(s[t])  # sorted needles are found faster
    if not (negative.size and positive.size):
        return math.nan
    below, at_most = (np.searchsorted(negative, positive, side=side).sum() for side in ("left", "right"))
    return float((below + at_most) / 2 / negative.size / positive.size)


def class_auroc(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """AUROC of class 1 for two classes, for more the mean over each class against the rest (macro average).

    Args:
        probabilities: (N, K).
        labels: (N,) integers. A class that no answer has, or every one, is left out of the mean.
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.shape[1] == 2:
        return auroc(p[:, 1], y == 1)
    each = [auroc(p[:, k], y == k) for k in range(p.shape[1])]
    known = [value for value in each if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
