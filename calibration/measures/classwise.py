"""Calibration of every class's probability, not of the predicted class alone: bins of p_k against
"the label is k".

Source: Kull et al. 2019, "Beyond temperature scaling", definition of classwise-ECE. The sums of
each class merge like any others. With two classes the top label tells everything; with many, most
p_k are near 0 and pull the mean down.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums
from calibration.measures import metrics

ClassSums = tuple[BinSums, ...]


def class_sums(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, bin_count: int = BIN_COUNT
) -> ClassSums:
    """Return K bin sums, the k-th of p_k against label == k, from probabilities (N, K) and labels
    (N,).

    Raises:
        ValueError: shapes that do not match, labels outside 0..K-1, a probability outside [0, 1].
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    metrics.of_true_class(p[:0], y[:0])
    if y.shape != p.shape[:1]:
        raise ValueError(
            f"probabilities must be (N, K) and labels (N,); got {p.shape} and {y.shape}"
        )
    return tuple(BinSums.from_predictions(p[:, k], y == k, bin_count) for k in range(p.shape[1]))


def classwise_ece(sums: Sequence[BinSums]) -> float:
    """Mean of the ECEs of the K classes, in [0, 1].

    >>> classwise_ece(class_sums([[0.1, 0.9], [0.1, 0.9]], [1, 0]))
    0.4
    """
    return _mean([metrics.ece(of_class) for of_class in sums])


def classwise_noise_floor(sums: Sequence[BinSums]) -> float:
    """E[classwise ECE] on these answers for a model whose probabilities are all true."""
    return _mean([metrics.noise_floor(of_class) for of_class in sums])


def classwise_z(sums: Sequence[BinSums]) -> float:
    """Standard deviations by which the classwise ECE exceeds its noise floor, at least.

    The errors of the classes depend on each other. The spread used here is the mean of theirs,
    which complete dependence would give and which is the largest possible. So z is exact for two
    classes and cautious for more.
    """
    spread = _mean([metrics.ece_spread(of_class) for of_class in sums])
    return (classwise_ece(sums) - classwise_noise_floor(sums)) / spread if spread else math.nan


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
