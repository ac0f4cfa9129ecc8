"""Performance before labels: the confusion matrix that the probabilities expect.

If the probabilities are calibrated by predicted class, an answer of class j is truly of class c
with the probability p_c. So the expected number of answers of j that are truly c is the sum of p_c
over these answers. This is confidence-based performance estimation (CBPE) as NannyML documents it.
The number is Poisson-binomial, with the variance sum p_c (1 - p_c), to which two terms may be
added:

- The calibration was itself measured on a finite reference. With N_j answers of class j there and
  n_j now, that multiplies the variance by 1 + n_j / N_j.
- `recalibrated` adds what labels have shown so far: for each predicted class, the mean of (truth -
  p_c) over its labeled answers. This is the difference estimator of survey sampling.

Nothing here can notice that the probabilities are no longer calibrated. All matrices are (K, K): a
row per true class, a column per predicted class.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from calibration.measures.metrics import Z95, top_label


@dataclass(frozen=True)
class RateEstimate:
    """An estimated rate of `n` answers, with 95 % interval and deviation; NaN where n is 0.

    Interval and deviation are NaN for a class that no answer predicts, too: nothing there could
    vary, whatever the truth is.
    """

    value: float
    lower: float
    upper: float
    deviation: float
    n: float


@dataclass(frozen=True)
class ProbabilitySums:
    """Sums of probabilities, (K, K): a row per class, a column per predicted class.

    Attributes:
        total: sum of p_c.
        squared: sum of p_c^2.
    """

    total: FloatArray
    squared: FloatArray

    @classmethod
    def from_probabilities(
        cls, probabilities: npt.ArrayLike, *, predicted: IntArray | None = None
    ) -> "ProbabilitySums":
        """Add up probabilities (N, K); `predicted` (N,) is by default the most probable class.

        >>> ProbabilitySums.from_probabilities([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]]).total
        array([[1.25, 0.25],
               [0.75, 0.75]])
        """
        p = np.asarray(probabilities, dtype=np.float64)
        chosen = _chosen(p, predicted)
        return cls(p.T @ chosen, (p * p).T @ chosen)

    @property
    def answers(self) -> FloatArray:
        """(K,) answers of each predicted class; probabilities of an answer add up to 1."""
        return np.asarray(self.total.sum(axis=0))

    def minus(self, other: "ProbabilitySums") -> "ProbabilitySums":
        """Return the sums over the answers that are not in `other`, a part of these."""
        return ProbabilitySums(
            np.maximum(self.total - other.total, 0), np.maximum(self.squared - other.squared, 0)
        )


@dataclass(frozen=True)
class LabeledSums:
    """Sums over labeled answers, each (K, K): a row per class, a column per predicted class.

    Attributes:
        probabilities: as ProbabilitySums.
        counts: answers that are truly of that class.
        squared_error: sum of (truth - p_c)^2, where truth is 1 for the true class and else 0.
    """

    probabilities: ProbabilitySums
    counts: FloatArray
    squared_error: FloatArray

    @classmethod
    def from_predictions(
        cls,
        probabilities: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        predicted: IntArray | None = None,
    ) -> "LabeledSums":
        """Add up probabilities (N, K) and labels (N,); `predicted` as above."""
        p = np.asarray(probabilities, dtype=np.float64)
        truth, chosen = np.eye(p.shape[1])[np.asarray(labels)], _chosen(p, predicted)
        return cls(
            ProbabilitySums.from_probabilities(p, predicted=predicted),
            truth.T @ chosen,
            ((truth - p) ** 2).T @ chosen,
        )


@dataclass(frozen=True)
class ExpectedConfusion:
    """An estimated confusion matrix, and the `variance` of what labels would show; (K, K)."""

    counts: FloatArray
    variance: FloatArray

    @property
    def accuracy(self) -> RateEstimate:
        """The share of right answers."""
        hits, spread = self.counts.diagonal().sum(), self.variance.diagonal().sum()
        return _rate(hits, spread, self.counts.sum() - hits, spread, paired=True)

    def plus(self, known: FloatArray) -> "ExpectedConfusion":
        """Return the matrix of these answers and of others with the matrix `known`, (K, K)."""
        return ExpectedConfusion(self.counts + known, self.variance)

    @property
    def sensitivity(self) -> list[RateEstimate]:
        """Of each class: the share of its images that get the right answer."""
        return self._of_predicted(
            [
                _rate(row[c], spread[c], row.sum() - row[c], spread.sum() - spread[c])
                for c, (row, spread) in enumerate(zip(self.counts, self.variance, strict=True))
            ]
        )

    @property
    def specificity(self) -> list[RateEstimate]:
        """Of each class: the share of the images of other classes that get another answer."""
        others = self.counts.sum(axis=0) - self.counts  # [c, j]: answers of j that are not truly c
        return self._of_predicted(
            [
                _rate(row.sum() - row[c], spread.sum() - spread[c], row[c], spread[c])
                for c, (row, spread) in enumerate(zip(others, self.variance, strict=True))
            ]
        )

    def _of_predicted(self, rates: list[RateEstimate]) -> list[RateEstimate]:
        """Take the interval from the rates of classes that no answer predicts."""
        return [
            rate if said else replace(rate, lower=math.nan, upper=math.nan, deviation=math.nan)
            for rate, said in zip(rates, (self.counts.sum(axis=0) > 0).tolist(), strict=True)
        ]


def expected_confusion(
    sums: ProbabilitySums, *, reference: npt.ArrayLike | None = None
) -> ExpectedConfusion:
    """Return the confusion matrix that the probabilities expect.

    `reference` (K,) are the answers of each predicted class on which the calibration was measured.
    None counts the calibration as exactly known; a class without any answer there adds nothing.

    Three answers of .9 and one of .5: 3.2 are expected to be right, with the variance 3 * .09 + .25
    = .52.

    >>> probabilities = [[0.9, 0.1]] * 3 + [[0.5, 0.5]]
    >>> estimate = expected_confusion(ProbabilitySums.from_probabilities(probabilities))
    >>> # 3.2 / 4, sqrt(.52) / 4
    >>> round(estimate.accuracy.value, 3), round(estimate.accuracy.deviation, 3)
    (0.8, 0.18)
    """
    variance = np.maximum(sums.total - sums.squared, 0.0)
    if reference is None:
        return ExpectedConfusion(sums.total, variance)
    known = np.asarray(reference, dtype=np.float64)
    return ExpectedConfusion(sums.total, variance * (1 + _ratio(sums.answers, known)))


def recalibrated(sums: ProbabilitySums, labeled: LabeledSums) -> ExpectedConfusion | None:
    """Return the confusion matrix expected after labels corrected it, of other answers.

    The labels must be a fair sample of the answers of each predicted class. None if a class was
    predicted here and is not among the labels.

    Eight of ten answers of .9 were right, so ten more are expected to be right 8 times.

    >>> labeled = LabeledSums.from_predictions([[0.9, 0.1]] * 10, [0] * 8 + [1] * 2)
    >>> found = recalibrated(ProbabilitySums.from_probabilities([[0.9, 0.1]] * 10), labeled)
    >>> found.counts[:, 0].round(6).tolist()
    [8.0, 2.0]
    """
    answers, known = sums.answers, labeled.counts.sum(axis=0)
    if np.any((answers > 0.5) & (known == 0)):
        return None
    n = np.maximum(known, 1.0)
    gap = (labeled.counts - labeled.probabilities.total) / n
    # so that labels that agree are not certain
    rate = (labeled.counts + 2 / len(labeled.counts)) / (known + 2)
    spread = np.maximum(labeled.squared_error / n - gap**2, rate * (1 - rate))
    counts = np.maximum(sums.total + answers * gap, 0.0)
    counts = counts * _ratio(answers, counts.sum(axis=0))
    return ExpectedConfusion(counts, answers * spread * (1 + _ratio(answers, known)))


def _chosen(p: FloatArray, predicted: IntArray | None) -> FloatArray:
    """1 at the predicted class, (N, K)."""
    return np.asarray(np.eye(p.shape[1])[top_label(p)[1] if predicted is None else predicted])


def _rate(
    hits: float, hits_var: float, misses: float, misses_var: float, *, paired: bool = False
) -> RateEstimate:
    """hits / (hits + misses) by the delta method; `paired`: the sum of the two is fixed."""
    total = float(hits + misses)
    if not total > 0:
        return RateEstimate(math.nan, math.nan, math.nan, math.nan, 0.0)
    value = float(hits) / total
    variance = hits_var if paired else (1 - value) ** 2 * hits_var + value**2 * misses_var
    deviation = math.sqrt(max(float(variance), 0.0)) / total
    half = Z95 * deviation + 0.5 / total  # hits are whole
    lower, upper = value - half, value + half
    return RateEstimate(value, max(0.0, lower), min(1.0, upper), deviation, total)


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)
