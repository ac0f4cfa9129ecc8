"""Simulated labels of a model that is calibrated, or becomes miscalibrated at some label."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
# Distributions of confidence: the lower end, and the beta distribution between it and 1.
SHAPES = {
    ".82, narrow: beta(6, 1.3)": (0.0, 6.0, 1.3),
    ".82, of two classes: 1/2 + beta(1, .56)/2": (0.5, 1.0, 0.56),
    ".957: beta(22, 1)": (0.0, 22.0, 1.0),
}
NARROW, TWO_CLASSES, SURE = SHAPES


@dataclass(frozen=True)
class Labels:
    """Arrays (N,): confidence, whether the answer was right, and the predicted class (0 or 1)."""

    confidence: FloatArray
    correct: npt.NDArray[np.bool_]
    predicted: npt.NDArray[np.int64]

    def __getitem__(self, part: slice) -> "Labels":
        return Labels(self.confidence[part], self.correct[part], self.predicted[part])


def opposed(seed: int, n: int, *, shape: str, gap: float) -> Labels:
    """Draw n labels of a model that is calibrated on average at each confidence, but by no class.

    Confidence exceeds accuracy in answers of class 0, and falls short of it in those of class 1: by
    `gap`, or by what is left to 1.
    """
    drawn, rng = labels(seed, n, shape=shape), np.random.default_rng((seed, n))
    error = np.minimum(gap, 1 - drawn.confidence) * np.where(drawn.predicted, 1, -1)
    return Labels(drawn.confidence, rng.random(n) < drawn.confidence + error, drawn.predicted)


def labels(
    seed: int,
    n: int,
    *,
    shape: str,
    gap: float = 0.0,
    after: int = 0,
    only_class: int | None = None,
) -> Labels:
    """Draw n labels; from label `after` on, confidence exceeds accuracy by `gap`, in one class only
    if one is given.
    """
    rng = np.random.default_rng(seed)
    lowest, a, b = SHAPES[shape]
    confidence, predicted = lowest + (1 - lowest) * rng.beta(a, b, n), rng.integers(0, 2, n)
    hit = (np.arange(n) >= after) & ((predicted == only_class) if only_class is not None else True)
    return Labels(confidence, rng.random(n) < confidence - gap * hit, predicted)
