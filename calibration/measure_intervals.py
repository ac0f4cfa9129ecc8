"""Bootstrap intervals of the measures for which resampling works, by patient if patients are known.

The ECE and its variants are not among them: see `calibration.metrics.ece_interval`.
"""

import numpy as np
import numpy.typing as npt

from calibration import auroc, metrics, selective
from calibration.bins import FloatArray, IntArray
from calibration.bootstrap import bootstrap, bootstrap_sums
from calibration.metrics import Interval

MEANS = ("accuracy", "mean_confidence", "signed_gap", "nll", "brier")
AREAS = ("auroc", "aurc")


def measure_intervals(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return an interval for each of `MEANS` (BCa) and `AREAS` (percentile).

    Args:
        probabilities: (N, K).
        labels: (N,) in 0..K-1.
        groups: (N,) patient of each answer; None if answers are independent.
        level: coverage, in (0, 1).
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
    terms = np.stack([correct, confidence, confidence - correct, log_loss, brier, np.ones(len(y))], axis=1)

    def means(sums: FloatArray) -> FloatArray:
        return sums[:, :-1] / sums[:, -1:]

    def areas(rows: IntArray) -> tuple[float, float]:
        return auroc.class_auroc(p[rows], y[rows]), selective.aurc(confidence[rows], correct[rows])

    of_means = bootstrap_sums(terms, means, groups=groups, level=level, resamples=resamples, seed=seed)
    of_areas = bootstrap(areas, len(y), groups=groups, level=level, resamples=resamples, seed=seed)
    return dict(zip(MEANS + AREAS, of_means + of_areas, strict=True))
