"""Histogram binning and isotonic regression: baselines whose figures stand beside a temperature's.

Each class is fitted against the rest, and the K probabilities are normalized (Zadrozny and Elkan
2002; Guo et al. 2017); of two classes the second is fitted. Both may change the predicted class,
and can return 0 or 1, so a single surprise costs hundreds of nats: compare them by the Brier score.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.isotonic import IsotonicRegression

from calibration.bins import BIN_COUNT, FloatArray
from calibration.calibrators.temperature import check_answers, softmax

BoolArray = NDArray[np.bool_]
BinaryMap = Callable[[FloatArray], FloatArray]


def fit_isotonic(logits: ArrayLike, labels: ArrayLike) -> BinaryMap:
    """The best monotone map of each class's probability, linear between its corners.

    Logits are (N, K) and labels (N,). Raises ValueError as
    `calibration.calibrators.temperature.check_answers`.
    """
    return _one_vs_rest(_monotone, logits, labels)


def fit_histogram(logits: ArrayLike, labels: ArrayLike, *, bin_count: int = BIN_COUNT) -> BinaryMap:
    """A probability becomes the frequency of its class in its bin, of equally many answers.

    Arguments and errors as `fit_isotonic`.

    >>> logits = np.log([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.2, 0.8]])
    >>> fit_histogram(logits, [0, 1, 1, 1], bin_count=2)(logits)[:, 1]
    array([0.5, 0.5, 1. , 1. ])
    """
    return _one_vs_rest(partial(steps, bin_count=bin_count), logits, labels)


def _monotone(p: FloatArray, truth: BoolArray) -> BinaryMap:
    fitted = IsotonicRegression(out_of_bounds="clip").fit(p, truth)
    return lambda p: np.asarray(fitted.predict(p))


def steps(p: FloatArray, truth: BoolArray, *, bin_count: int) -> BinaryMap:
    """A step function with edges at quantiles of p (N,), halfway to the next larger p."""
    inner = np.quantile(p, np.arange(1, bin_count) / bin_count, method="inverted_cdf")
    lower = np.unique(inner[inner < p.max()])  # so that each bin holds an answer
    known = np.unique(p)
    upper = known[np.searchsorted(known, lower, side="right")]
    halfway = (lower + upper) / 2
    edges = np.where(halfway < upper, halfway, lower)  # no number may be between them
    index = np.searchsorted(edges, p, side="left")
    values = np.bincount(index, weights=truth) / np.bincount(index)
    return lambda p: np.asarray(values[np.searchsorted(edges, p, side="left")])


def _one_vs_rest(
    fit: Callable[[FloatArray, BoolArray], BinaryMap], logits: ArrayLike, labels: ArrayLike
) -> BinaryMap:
    z, y = check_answers(logits, labels)
    p = softmax(z)
    fitted = [fit(p[:, k], y == k) for k in range(int(p.shape[1] == 2), p.shape[1])]
    return partial(normalized, fitted)


def normalized(maps: Sequence[BinaryMap], logits: FloatArray) -> FloatArray:
    """Return probabilities (N, K), each class by its own map, over their sum; zeros become 1/K."""
    p = softmax(logits)
    if len(maps) == 1:
        second = maps[0](p[:, 1])
        return np.stack([1 - second, second], axis=1)
    scores = np.stack([of_class(p[:, k]) for k, of_class in enumerate(maps)], axis=1)  # (N, K)
    total = scores.sum(axis=1, keepdims=True)
    return np.where(total > 0, scores / np.where(total > 0, total, 1), 1 / scores.shape[1])
