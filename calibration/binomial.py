"""The binomial distribution, exact for any number of trials."""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def pmf(successes: npt.NDArray[np.integer], n: int, probability: float) -> FloatArray:
    """P(X = k) for each k in `successes`, X ~ Binomial(n, probability).

    >>> pmf(np.array([0, 1, 2]), 2, 0.5).round(6)
    array([0.25, 0.5 , 0.25])
    """
    if not 0 < probability < 1:
        return np.asarray(successes == round(n * probability), dtype=np.float64)
    log = _log_factorials(1 << max(n + 1, 2).bit_length())
    choose = log[n] - log[successes] - log[n - successes]
    return np.asarray(
        np.exp(
            choose + successes * math.log(probability) + (n - successes) * math.log1p(-probability)
        )
    )


def tail(successes: int, n: int, probability: float) -> float:
    """P(X >= successes) for X ~ Binomial(n, probability).

    >>> round(tail(1, 2, 0.5), 6)
    0.75
    """
    return float(pmf(np.arange(successes, n + 1), n, probability).sum())


@lru_cache(maxsize=1)
def _log_factorials(size: int) -> FloatArray:
    """log k! for k below `size`, a power of two, so that few lists are made."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])
