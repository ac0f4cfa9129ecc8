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
        method: "lac", or "class_conditional", which keeps the promise in each class by itself.
        mean_set_size: classes per set on the reference.
        coverage_reference: share of the reference whose true class is in its set; at least 1 -
            alpha there. With "class_conditional", of the class with the lowest share.
        thresholds: with "class_conditional", by class, (K,); `threshold` is the lowest of them.
    """

    alpha: float
    threshold: float
    method: str
    mean_set_size: float
    coverage_reference: float
    thresholds: tuple[float, ...] | None = None


def conformal(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, alpha: float = 0.1
) -> Conformal:
    """Return the threshold of the sets, from probabilities (N, K) and labels (N,) not trained on.

    The threshold is the floor((N + 1) alpha)-th smallest probability of a true class, so that a
    new, exchangeable answer is covered with probability at least 1 - alpha and, without ties, at
    most 1 - alpha + 1/(N + 1).

    Raises ValueError: alpha outside (0, 1), no answers, labels that do not fit.

    >>> # .4, .8, .9: the second
    >>> conformal([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], alpha=0.5).threshold
    0.8
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1); got {alpha}")
    chosen = of_true_class(probabilities, labels)
    if not chosen.size:
        raise ValueError("a prediction set needs at least one labeled answer; got none")
    threshold = _quantile(chosen, alpha)
    sizes = prediction_sets(probabilities, threshold).sum(axis=1)
    return Conformal(
        alpha, threshold, "lac", float(sizes.mean()), float((chosen >= threshold).mean())
    )


def finding_sets(
    probability: npt.ArrayLike, outcome: npt.ArrayLike, *, present_from: float, alpha: float = 0.1
) -> Conformal | None:
    """Return the sets of one finding, whose classes are absent and present; None if either class
    has too few images for any promise.

    Most images lack most findings, so a promise for the average image would say nothing of those
    that have it. Each class therefore has a promise of its own: of the images with the finding, at
    most `alpha` get the set {absent}, and of those without it, at most `alpha` get {present}. A set
    of one class is always the answer by the finding's threshold, and no set is empty. A set of both
    says that a person should look.

    Source: class-conditional (Mondrian) conformal prediction, Vovk 2012; the sets are enlarged
    where the threshold lies outside of their quantiles, which keeps the promise.

    Args:
        probability: (N,), of presence, not trained on.
        outcome: (N,), whether the finding is present.
        present_from: the finding's threshold, in [0, 1].

    >>> p, ill = np.arange(40) / 40, np.arange(40) >= 20
    >>> finding_sets(p, ill, present_from=0.6).thresholds  # absent below .6, present from .525 on
    (0.4, 0.525)
    >>> finding_sets(p[:25], ill[:25], present_from=0.6) is None  # five images with the finding
    True
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1); got {alpha}")
    p, present = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=bool)
    if min(present.sum(), (~present).sum()) < 1 / alpha - 1 - 1e-9:
        return None
    thresholds = (
        min(_quantile(1 - p[~present], alpha), 1 - present_from),
        min(_quantile(p[present], alpha), present_from),
    )
    sets = np.stack([1 - p, p], axis=1) >= thresholds
    covered = (sets[~present, 0].mean(), sets[present, 1].mean())
    return Conformal(
        alpha,
        min(thresholds),
        "class_conditional",
        float(sets.sum(axis=1).mean()),
        float(min(covered)),
        thresholds,
    )


def _quantile(of_true_class: npt.NDArray[np.float64], alpha: float) -> float:
    """The threshold below which a new, exchangeable value lies with probability alpha at most."""
    rank = math.floor((len(of_true_class) + 1) * alpha + 1e-9)  # 10 * .3 must not round below 3
    return float(np.partition(of_true_class, rank - 1)[rank - 1]) if rank else 0.0


def prediction_sets(probabilities: npt.ArrayLike, threshold: float) -> npt.NDArray[np.bool_]:
    """Return (N, K) bool: whether each class is in the set of each answer.

    >>> prediction_sets([[0.7, 0.2, 0.1]], 0.2)
    array([[ True,  True, False]])
    """
    return np.asarray(np.asarray(probabilities) >= threshold)
