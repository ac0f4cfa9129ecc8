"""K binary calibrators become one of K classes: each against the rest, then normalized.

Source: Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass
probability estimates", with the normalization of Guo et al. 2017. With two classes only the second
is calibrated; the first is its complement.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.temperature import check_answers, softmax

T = TypeVar("T")
BinaryMap = Callable[[FloatArray], FloatArray]


def fit_each(
    fit: Callable[[FloatArray, npt.NDArray[np.bool_]], T],
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
) -> tuple[T, ...]:
    """Fit a binary map per class, of two for the second, on its probability (N,) and truth.

    Raises ValueError: as `calibration.calibrators.temperature.check_answers`.
    """
    z, y = check_answers(logits, labels)
    p = softmax(z)
    return tuple(fit(p[:, k], y == k) for k in _calibrated_classes(p.shape[1]))


def apply_each(maps: Sequence[BinaryMap], logits: npt.ArrayLike) -> FloatArray:
    """Return probabilities (N, K), each class by its own map, normalized; zeros become 1/K.

    Raises ValueError: the logits have another number of classes than was fitted.
    """
    p = softmax(logits)
    classes = _calibrated_classes(p.shape[1])
    if len(maps) != len(classes):
        fitted = 2 if len(maps) == 1 else len(maps)
        raise ValueError(
            f"this calibrator was fitted on {fitted} classes; got logits of {p.shape[1]}"
        )
    if len(maps) == 1:
        second = maps[0](p[:, 1])
        return np.stack([1 - second, second], axis=1)
    scores = np.stack([maps[k](p[:, k]) for k in classes], axis=1)  # (N, K)
    total = scores.sum(axis=1, keepdims=True)
    return np.where(total > 0, scores / np.where(total > 0, total, 1), 1 / scores.shape[1])


def _calibrated_classes(class_count: int) -> range:
    return range(1, 2) if class_count == 2 else range(class_count)
