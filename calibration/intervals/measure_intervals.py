"""Intervals of the measures that need whole probability vectors, and of accuracy and gap, by
patient if they are known.

The bootstrap gives those of means and areas. It shows no variance in answers that are all right or
all wrong, so accuracy and gap have closed intervals. The ECE and its variants have theirs in
`calibration.clusters`.
"""

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from calibration.intervals.bootstrap import bootstrap, bootstrap_sums
from calibration.intervals.clusters import chance
from calibration.measures import auroc, metrics, selective
from calibration.measures.metrics import Interval

RATES = ("accuracy", "signed_gap")
MEANS = ("mean_confidence", "nll", "brier")
AREAS = ("auroc", "aurc")


def measure_intervals(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return a 95 % interval for each of `RATES` (closed), `MEANS` (BCa) and `AREAS` (percentile).

    Args:
        probabilities: (N, K).
        labels: (N,) in 0..K-1.
        groups: (N,) patient of each answer; None if answers are independent.
        resamples: number of resamples.
        seed: of the resampling; the same seed gives the same intervals.

    Raises:
        ValueError: no answers, or shapes or labels that do not fit.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    confidence, predicted = metrics.top_label(p)
    correct = predicted == y
    true = metrics.of_true_class(p, y)
    brier = (p**2).sum(axis=1) - 2 * true + 1
    log_loss = -np.log(np.maximum(true, np.finfo(np.float64).tiny))
    terms = np.stack([confidence, log_loss, brier, np.ones(len(y))], axis=1)

    def means(sums: FloatArray) -> FloatArray:
        return sums[:, :-1] / sums[:, -1:]

    def areas(rows: IntArray) -> tuple[float, float]:
        return auroc.class_auroc(p[rows], y[rows]), selective.aurc(confidence[rows], correct[rows])

    gap, wrong = (
        chance(confidence, correct, groups).gap,
        chance(np.ones(len(y)), correct, groups).gap,
    )
    of_rates = [Interval(1 - wrong.upper, min(1 - wrong.lower, 1.0)), gap]
    of_means = bootstrap_sums(terms, means, groups=groups, resamples=resamples, seed=seed)
    of_areas = bootstrap(areas, len(y), groups=groups, resamples=resamples, seed=seed)
    return dict(zip(RATES + MEANS + AREAS, of_rates + of_means + of_areas, strict=True))
