"""Conformal p-values: how unusual an image's score is among those of calibration images.

The p-value of an image is (1 + c) / (n + 1), where c of the n calibration images have at least its
score. Of images that are drawn like the calibration images, at most a share alpha has a p-value of
at most alpha, on average over calibration sets (Vovk, Gammerman and Shafer 2005). Given one set,
the share is Beta(a, n + 1 - a) with a the floor of alpha (n + 1), which is its interval here
(Vovk 2012; Bates et al. 2023). Nothing is promised about other images: they may look in scope.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.intervals.confidence_sequence import share_interval
from calibration.measures.metrics import Interval
from calibration.scope.verdict import ALPHA


def p_values(calibration: npt.NDArray[Any], scores: npt.NDArray[Any]) -> FloatArray:
    """Return the p-values (N,) of scores (N,) among those of calibration images, (n,).

    >>> p_values(np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.5, 9.0])).tolist()
    [1.0, 0.5, 0.25]
    """
    ordered = np.sort(calibration)
    above = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.asarray((1 + above) / (len(ordered) + 1))


def flagged_share(n: int, alpha: float = ALPHA) -> Interval:
    """Return where the share of in-scope images with a p-value of at most `alpha` lies.

    With n below 1 / alpha - 1 no p-value is that small, and the share is 0.

    >>> [round(each, 3) for each in flagged_share(300)]
    [0.028, 0.077]
    """
    count = int(np.floor(alpha * (n + 1) + 1e-9))
    if not count:
        return Interval(0.0, 0.0)
    # P(Beta(a, n + 1 - a) <= x) = P(Binomial(n, x) >= a)
    return Interval(share_interval(n, count).lower, share_interval(n, count - 1).upper)
