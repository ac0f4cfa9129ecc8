"""Conformal prediction sets: they include the true class as often as promised.

Split conformal prediction with the score 1 - p of the true class (LAC: Sadinle, Lei and Wasserman
2019; quantile as in Angelopoulos and Bates 2021). Of all sets with that coverage they are the
smallest on average. A set may be empty, which means that no class is likely enough: refer the
image. The promise holds for the average image, not for each class or patient, and only while new
images come from the same distribution.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.measures.metrics import of_true_class


@dataclass(frozen=True)
class Conformal:
    """Classes with probability at least `threshold` form the set.

    Attributes:
        alpha: P(the true class is not in the set) <= alpha, over sample and new answer together.
        threshold: in [0, 1]; 0, which a sample that is too small requires, includes every class.
        method: the score.
        mean_set_size: classes per set on the reference.
        coverage_reference: share of the reference whose true class is in its set; at least 1 -
            alpha there.
    """

    alpha: float
    threshold: float
    method: str
    mean_set_size: float
    coverage_reference: float


def conformal(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, alpha: float = 0.1
) -> Conformal:
    """Return the threshold of the sets, from probabilities (N, K) and labels (N,) not trained on.

    The threshold is the floor((N + 1) alpha)-th smallest probability of a true class, so that a
    new, exchangeable answer is covered with probability at least 1 - alpha and, without ties, at
    most 1 - alpha + 1/(N + 1).

    Raises:
        ValueError: alpha outside (0, 1), no answers, labels that do not fit.

    >>> # .4, .8, .9: the second
    >>> conformal([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], alpha=0.5).threshold
    0.8
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1); got {alpha}")
    chosen = of_true_class(probabilities, labels)
    if not chosen.size:
        raise ValueError("a prediction set needs at least one labeled answer; got none")
    rank = math.floor((len(chosen) + 1) * alpha + 1e-9)  # 10 * .3 must not round below 3
    threshold = float(np.partition(chosen, rank - 1)[rank - 1]) if rank else 0.0
    sizes = prediction_sets(probabilities, threshold).sum(axis=1)
    return Conformal(
        alpha, threshold, "lac", float(sizes.mean()), float((chosen >= threshold).mean())
    )


def prediction_sets(probabilities: npt.ArrayLike, threshold: float) -> npt.NDArray[np.bool_]:
    """Return (N, K) bool: whether each class is in the set of each answer.

    >>> prediction_sets([[0.7, 0.2, 0.1]], 0.2)
    array([[ True,  True, False]])
    """
    return np.asarray(np.asarray(probabilities) >= threshold)
