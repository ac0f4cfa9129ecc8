"""The confusion matrix, the rates of classes, and whether only the case mix changed."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.measures.metrics import Interval, top_label
from calibration.measures.reliability import wilson_interval

KNOWN_IMAGES = 5  # of a class; the recall of fewer is unknown, not zero


def confusion_matrix(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return counts (K, K): a row per true class, a column per predicted class.

    >>> confusion_matrix([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
    array([[1, 0],
           [1, 1]])
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    _, predicted = top_label(p)
    counts = np.zeros((p.shape[1], p.shape[1]), dtype=np.int64)
    np.add.at(counts, (y, predicted), 1)
    return counts


@dataclass(frozen=True)
class ClassRates:
    """Sensitivity and specificity of each class, (K,) each; NaN without such answers."""

    sensitivity: FloatArray
    specificity: FloatArray


def class_rates(confusion: npt.ArrayLike) -> ClassRates:
    """Return the rates of a confusion matrix (K, K).

    >>> class_rates([[8, 2], [1, 9]]).sensitivity
    array([0.8, 0.9])
    """
    counts = np.asarray(confusion, dtype=np.float64)
    hits, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    rest = counts.sum() - true
    with np.errstate(invalid="ignore", divide="ignore"):
        return ClassRates(hits / true, (rest - (predicted - hits)) / rest)


def recalls(confusion: npt.ArrayLike) -> tuple[float | None, ...]:
    """Return the sensitivity of each class as plain numbers, None for a class that is unknown:
    with fewer than KNOWN_IMAGES images.

    >>> recalls([[6, 2], [4, 0]])
    (0.75, None)
    """
    counts = np.asarray(confusion)
    shares = class_rates(counts).sensitivity.tolist()
    return tuple(
        share if images >= KNOWN_IMAGES else None
        for share, images in zip(shares, counts.sum(axis=1), strict=True)
    )


def recall_intervals(confusion: npt.ArrayLike) -> tuple[Interval, ...]:
    """Return the 95 % Wilson interval of each class's sensitivity; (0, 1) without images.

    >>> [(round(low, 2), round(high, 2)) for low, high in recall_intervals([[6, 2], [0, 0]])]
    [(0.41, 0.93), (0.0, 1.0)]
    """
    counts = np.asarray(confusion)
    return tuple(
        wilson_interval(hits / images, images) if images else Interval(0.0, 1.0)
        for hits, images in zip(
            counts.diagonal().tolist(), counts.sum(axis=1).tolist(), strict=True
        )
    )


def case_mix_p_value(reference: npt.ArrayLike, live: npt.ArrayLike) -> float:
    """Return the p-value of "only the frequency of the classes differs" for two matrices.

    Under label shift the answers given to one true class have the same distribution in both. This
    is Pearson's test of homogeneity, summed over true classes; the tail of chi-squared is Wilson
    and Hilferty's approximation (1931), which is within .003 for three degrees of freedom or more.
    NaN if no class was seen in both. The matrices (K, K) are counts, a row per true class.

    >>> # the same rates, another mix
    >>> round(case_mix_p_value([[80, 20], [10, 90]], [[160, 40], [2, 18]]), 2)
    1.0
    """
    statistic, freedom = 0.0, 0
    for first, second in zip(np.asarray(reference, float), np.asarray(live, float), strict=True):
        table = np.stack([first, second])[:, first + second > 0]
        if not table.sum(axis=1).all():
            continue
        expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
        statistic += float(((table - expected) ** 2 / expected).sum())
        freedom += table.shape[1] - 1
    if not freedom:
        return math.nan
    return math.erfc(chi_squared_deviations(statistic, freedom) / math.sqrt(2)) / 2


def chi_squared_deviations(statistic: float, freedom: int) -> float:
    """Return chi-squared as a standard normal deviation (Wilson and Hilferty 1931).

    >>> round(chi_squared_deviations(18.31, 10), 2)   # the 95 % quantile; exact: 1.64
    1.65
    """
    spread = 2 / (9 * freedom)
    return (math.cbrt(statistic / freedom) - (1 - spread)) / math.sqrt(spread)
