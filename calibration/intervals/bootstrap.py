"""Bootstrap intervals of measures (Efron 1987), by patient if several answers are of one.

Answers of one patient resemble each other. Drawn one by one they would count as independent, and
the interval would be too short; so whole groups are drawn. BCa corrects for bias of the median and
for skew; percentiles do not.

Do not use it for the ECE: resampling repeats its upward bias instead of correcting it. For
independent answers, `calibration.measures.metrics.ece_interval` bounds the ECE.
"""

from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from calibration.intervals.clusters import chance
from calibration.measures import metrics
from calibration.measures.metrics import Interval
from calibration.measures.ranking import class_auroc

RESAMPLES = 2000
_TAILS = (0.025, 0.975)
_CELLS = 1 << 22  # random numbers drawn at once


def bootstrap_sums(
    terms: npt.ArrayLike,
    statistic: Callable[[FloatArray], FloatArray],
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Return intervals of functions of sums over answers, with all resamples at once.

    Args:
        terms: (N, d) what each answer adds to the d sums; include a column of ones to count
            answers.
        statistic: takes sums (B, d), returns (B, s).
        groups: (N,) patient of each answer; None if answers are independent.

    Returns:
        s intervals. Resamples in which a statistic is NaN do not count for it.

    Raises ValueError without answers, or for groups of another length.

    >>> rows = [[1, 1], [0, 1], [1, 1], [1, 1]]  # correct, 1
    >>> accuracy = bootstrap_sums(rows, lambda sums: sums[:, :1] / sums[:, 1:])
    >>> accuracy[0].lower, accuracy[0].upper
    (0.25, 1.0)
    """
    per_answer = np.asarray(terms, dtype=np.float64)
    group, count = _groups(groups, len(per_answer))
    # (G, d)
    sums = np.stack([np.bincount(group, column, count) for column in per_answer.T], axis=1)
    # Not a matrix product, whose last bits depend on the number of threads.
    totals = (np.einsum("rn,ns->rs", weights, sums) for weights in _weights(count, resamples, seed))
    drawn = np.concatenate([statistic(each) for each in totals])
    whole = sums.sum(axis=0)
    left_out, observed = statistic(whole - sums), statistic(whole[np.newaxis])[0]
    return [
        _interval(values, float(observed[k]), left_out[:, k]) for k, values in enumerate(drawn.T)
    ]


def bootstrap(
    statistic: Callable[[IntArray], npt.ArrayLike],
    n: int,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Return intervals of any statistics of n answers, by one call per resample.

    `statistic` takes row numbers (m,), repeated as drawn, and returns (s,).
    """
    group, count = _groups(groups, n)
    order, size = np.argsort(group, kind="stable"), np.bincount(group, minlength=count)
    members = np.split(order, np.cumsum(size)[:-1])
    rng = np.random.default_rng(seed)

    def drawn() -> IntArray:
        chosen = rng.integers(0, count, count)
        return chosen if groups is None else np.concatenate([members[g] for g in chosen])

    values = [np.asarray(statistic(drawn()), dtype=np.float64) for _ in range(resamples)]
    return [_interval(each) for each in np.array(values).reshape(resamples, -1).T]


def _groups(groups: npt.ArrayLike | None, n: int) -> tuple[IntArray, int]:
    if n == 0:
        raise ValueError("a bootstrap needs at least one answer; got none")
    if groups is None:
        return np.arange(n), n
    if np.shape(groups) != (n,):
        raise ValueError(
            f"groups must be of shape ({n},), one for each answer; got {np.shape(groups)}"
        )
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    return index.astype(np.int64), len(names)


def _weights(count: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Give how often each of `count` groups is drawn, (b, count) at a time."""
    rng, at_once = np.random.default_rng(seed), max(1, _CELLS // count)
    for start in range(0, resamples, at_once):
        b = min(at_once, resamples - start)
        cells = rng.integers(0, count, (b, count)) + count * np.arange(b)[:, np.newaxis]
        yield np.bincount(cells.ravel(), minlength=b * count).reshape(b, count).astype(np.float64)


def _interval(
    drawn: FloatArray, observed: float = np.nan, left_out: FloatArray | None = None
) -> Interval:
    """Return quantiles of the drawn values (B,) that are numbers: BCa with a jackknife (G,)."""
    finite = drawn[~np.isnan(drawn)]
    if not finite.size:
        return Interval(np.nan, np.nan)
    tails = _TAILS if left_out is None else _bca_tails(finite, observed, left_out)
    return Interval(*np.quantile(finite, tails).tolist())


def _bca_tails(drawn: FloatArray, observed: float, left_out: FloatArray) -> tuple[float, float]:
    """Shift the tails by the bias z0 and the acceleration a (Efron 1987, equation 2.3)."""
    normal, half = NormalDist(), 0.5 / len(drawn)
    below = ((drawn < observed).mean() + (drawn <= observed).mean()) / 2
    bias = normal.inv_cdf(min(max(float(below), half), 1 - half))
    pull = np.nanmean(left_out) - left_out[~np.isnan(left_out)]
    spread = float((pull**2).sum()) ** 1.5
    acceleration = float((pull**3).sum()) / (6 * spread) if spread else 0.0

    def shifted(tail: float) -> float:
        z = bias + normal.inv_cdf(tail)
        return normal.cdf(bias + z / (1 - acceleration * z))

    return shifted(_TAILS[0]), shifted(_TAILS[1])


RATES = ("accuracy", "signed_gap")
MEANS = ("mean_confidence", "nll", "brier")
AREAS = ("auroc",)


def measure_intervals(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return a 95 % interval for each of `RATES` (closed), `MEANS` (BCa) and `AREAS` (percentile).

    Groups (N,) are patients; None if answers are independent. ValueError without answers, or for
    shapes or labels that do not fit.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    confidence, predicted = metrics.top_label(p)
    correct = predicted == y
    true = metrics.of_true_class(p, y)
    brier = (p**2).sum(axis=1) - 2 * true + 1
    terms = np.stack([confidence, metrics.log_loss(p, y), brier, np.ones(len(y))], axis=1)

    def means(sums: FloatArray) -> FloatArray:
        return sums[:, :-1] / sums[:, -1:]

    def areas(rows: IntArray) -> tuple[float]:
        return (class_auroc(p[rows], y[rows]),)

    gap, wrong = (
        chance(confidence, correct, groups).gap,
        chance(np.ones(len(y)), correct, groups).gap,
    )
    of_rates = [Interval(1 - wrong.upper, min(1 - wrong.lower, 1.0)), gap]
    of_means = bootstrap_sums(terms, means, groups=groups, resamples=resamples, seed=seed)
    of_areas = bootstrap(areas, len(y), groups=groups, resamples=resamples, seed=seed)
    return dict(zip(RATES + MEANS + AREAS, of_rates + of_means + of_areas, strict=True))
