"""How well scores rank: area under the ROC curve, average precision, and the steps behind them.

They depend on the order of scores alone: a model with an AUROC of 1 can be badly miscalibrated, and
temperature scaling of two classes changes neither. Source: Hanley and McNeil 1982.
"""

import math

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, paired
from calibration.measures.metrics import Z95, Interval


def auroc(score: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """P(score of a positive > of a negative) + P(equal) / 2; NaN without one of the two.

    Score (N,) may be any numbers. Raises ValueError if the two differ in shape.

    >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    s, t = paired(score, np.asarray(truth, dtype=bool))
    negative, positive = np.sort(s[~t]), np.sort(s[t])  # a search for sorted values is faster
    if not (negative.size and positive.size):
        return math.nan
    below, at_most = (
        np.searchsorted(negative, positive, side=side).sum() for side in ("left", "right")
    )
    return float((below + at_most) / 2 / negative.size / positive.size)


def auroc_interval(value: float, positives: int, negatives: int) -> Interval:
    """Return the 95 % interval of an AUROC for one look (Hanley and McNeil 1982).

    An AUROC of 1 counts as one error among the rarer outcome. Needs both outcomes.

    >>> [round(end, 2) for end in auroc_interval(0.9, 50, 100)]
    [0.84, 0.96]
    """
    a = min(max(value, 1 - value), 1 - 1 / (2 * min(positives, negatives) + 2))
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = a * (1 - a) + (positives - 1) * (q1 - a * a) + (negatives - 1) * (q2 - a * a)
    half = Z95 * math.sqrt(variance / (positives * negatives))
    return Interval(max(0.0, value - half), min(1.0, value + half))


def class_auroc(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """AUROC of class 1 of two; of more, the mean of each class against the rest.

    The mean leaves out a class that no answer has, or that every answer has.

    >>> class_auroc([[0.9, 0.1], [0.2, 0.8]], [0, 1])
    1.0
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.shape[1] == 2:
        return auroc(p[:, 1], y == 1)
    each = [auroc(p[:, k], y == k) for k in range(p.shape[1])]
    known = [value for value in each if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def average_precision(score: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Area under the precision-recall curve, as steps: sum of (R_k - R_(k-1)) P_k over distinct
    scores from the highest down (Su, Yuan and Zhu 2015). NaN without a positive.

    Arguments and errors as in `auroc`.

    >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [False, False, True, True]), 3)
    0.833
    """
    _, kept, wrong = steps_down(score, truth)
    hits = kept - wrong
    if not hits.size or not hits[-1]:
        return math.nan
    return float((np.diff(hits, prepend=0) * hits / kept).sum() / hits[-1])


def steps_down(
    confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return distinct confidences, falling, (U,); and answers and wrong ones from there up.

    >>> [each.tolist() for each in steps_down([0.9, 0.6, 0.6], [True, True, False])]
    [[0.9, 0.6], [1, 3], [0, 1]]
    """
    p, c = paired(confidence, np.asarray(correct, dtype=bool))
    order = np.argsort(-p)
    p, wrong = p[order], np.cumsum(~c[order])
    last = (
        np.flatnonzero(np.append(p[1:] != p[:-1], True)) if p.size else np.empty(0, dtype=np.int64)
    )
    return p[last], (last + 1).astype(np.int64), wrong[last].astype(np.int64)
