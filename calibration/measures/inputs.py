"""Probabilities with labels, and sums that several measures share, computed once.

- Bins of each class's probability against "the label is k": Kull et al. 2019, "Beyond temperature
  scaling", definition of classwise-ECE. With two classes the top label says everything; with many,
  most p_k are near 0 and pull the mean down.
- Bins that hold equally many answers, as in the adaptive ECE (Nguyen and O'Connor 2015). Where most
  confidences are near 1, bins of equal width put nearly all answers into one bin, where opposite
  errors cancel. The edges depend on the answers, so these sums do not merge with others.
- The parts of the Brier score: Murphy 1973, "A new vector partition of the probability score", with
  the term within bins of Stephenson, Coelho and Jolliffe 2008, without which they do not add up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums, FloatArray, IntArray, bin_index, paired
from calibration.measures import metrics
from calibration.measures.smooth import SmoothSums


@dataclass(frozen=True)
class BrierParts:
    """brier = reliability - resolution + uncertainty + within, exactly.

    Attributes:
        reliability: squared distance between mean probability and frequency, per bin; 0 is
            calibrated.
        resolution: squared distance between each bin's frequency and the overall one; higher is
            better.
        uncertainty: variance of the labels, which no model can change.
        within: differences inside bins: variance of the probabilities minus twice their covariance
            with the labels.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float

    @property
    def brier(self) -> float:
        """The score the parts add up to."""
        return self.reliability - self.resolution + self.uncertainty + self.within


def brier_parts(classes: Sequence[BinSums]) -> BrierParts:
    """Decompose the Brier score over all classes, given `class_sums`; NaN without data.

    Given the sums of one event, (p, c) in [0, 1] x {0, 1}, it returns the parts of mean (p - c)^2.

    >>> brier_parts([BinSums.from_predictions([0.9, 0.9], [True, False])]).uncertainty
    0.25
    """
    rows = np.array([_parts(sums) for sums in classes])  # (K, 4)
    return BrierParts(*rows.sum(axis=0).tolist())


def _parts(sums: BinSums) -> tuple[float, float, float, float]:
    if not sums.total:
        return (np.nan,) * 4
    filled, total = sums.n > 0, sums.total
    n, correct, gap = sums.n[filled], sums.correct[filled], sums.difference[filled]
    rate = correct.sum() / total
    reliability = (gap**2 / n).sum() / total
    resolution = (n * (correct / n - rate) ** 2).sum() / total
    # Inside bins: variance of c - p minus variance of c.
    within = ((sums.squared_error[filled] - gap**2 / n) - (correct - correct**2 / n)).sum() / total
    return float(reliability), float(resolution), float(rate * (1 - rate)), float(within)


ClassSums = tuple[BinSums, ...]


def class_sums(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, bin_count: int = BIN_COUNT
) -> ClassSums:
    """Return K bin sums, of p_k and label == k, from probabilities (N, K) and labels (N,).

    Raises ValueError: shapes that do not match, labels outside 0..K-1, a probability outside [0,
    1].
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    metrics.of_true_class(p, y)  # raises ValueError for labels that do not fit
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


def equal_mass_sums(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bin_count: int = BIN_COUNT
) -> BinSums:
    """Sum up answers in bins (e[m-1], e[m]] whose edges are quantiles of the confidences.

    Equal confidences share a bin, so there may be fewer bins than M. Arguments and errors as in
    `BinSums.from_predictions`.

    >>> equal_mass_sums([0.9, 0.92, 0.94, 0.96], [True] * 4, bin_count=2).n
    array([2, 2])
    """
    p, c = paired(confidence, correct)
    if not p.size:
        return BinSums.zeros(bin_count)
    bin_index(p, 1)  # raises ValueError outside [0, 1]
    inner = np.quantile(p, np.arange(1, bin_count) / bin_count, method="inverted_cdf")
    edges = np.unique(inner[inner < p.max()])
    return BinSums.from_index(
        np.searchsorted(edges, p, side="left").astype(np.int64), p, c, len(edges) + 1
    )


SUM_TOLERANCE = 0.01  # for probabilities that were rounded or are in half precision


def _require_distributions(probabilities: npt.NDArray[np.floating]) -> None:
    """Raise ValueError for the first row that is no distribution, such as logits."""
    if probabilities.ndim != 2 or not probabilities.size:
        return  # the shape is checked where the labels are
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = ~(np.abs(sums - 1) <= SUM_TOLERANCE) | ~(probabilities.min(axis=1) >= 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"each row of probabilities must be in [0, 1] and add up to 1; row {row} begins with "
            f"{np.round(probabilities[row, :3], 3).tolist()} and adds up to {sums[row]:.3f}. Pass "
            "logits through calibration.calibrators.temperature.softmax first."
        )


class MeasuredAnswers:
    """Answers whose labels are known.

    >>> MeasuredAnswers([[0.1, 0.9], [0.7, 0.3]], [1, 1]).correct
    array([ True, False])
    """

    def __init__(
        self,
        probabilities: npt.ArrayLike,
        labels: npt.ArrayLike,
        bin_count: int = BIN_COUNT,
        *,
        smallest: float | None = None,
    ) -> None:
        """Take probabilities (N, K), each row in [0, 1] and summing to 1 within 0.01, and labels
        (N,) in 0..K-1.

        `smallest` counts for a 0 in the NLL; `metrics.smallest_probability` if it is None.
        ValueError for rows that are no probabilities.
        """
        self.probabilities = np.asarray(probabilities)
        _require_distributions(self.probabilities)
        self.labels = np.asarray(labels)
        self.bin_count = bin_count
        self._smallest = smallest

    @cached_property
    def log_loss(self) -> FloatArray:
        """(N,) -log p of the true classes, in nats."""
        return metrics.log_loss(self.probabilities, self.labels, smallest=self._smallest)

    @property
    def zeros(self) -> int:
        """How many true classes have a probability that `log_loss` replaces."""
        true = metrics.of_true_class(self.probabilities, self.labels)
        return int((true < metrics.SMALLEST).sum())

    @cached_property
    def _top(self) -> tuple[FloatArray, IntArray]:
        return metrics.top_label(self.probabilities)

    @property
    def confidence(self) -> FloatArray:
        """(N,) the largest probability of each answer."""
        return self._top[0]

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(N,) whether the predicted class is the label."""
        return np.asarray(self._top[1] == self.labels)

    @cached_property
    def bins(self) -> BinSums:
        """The sums per confidence bin."""
        return BinSums.from_predictions(self.confidence, self.correct, self.bin_count)

    @cached_property
    def equal_mass(self) -> BinSums:
        """The sums per bin of equally many answers."""
        return equal_mass_sums(self.confidence, self.correct, self.bin_count)

    @cached_property
    def smooth(self) -> SmoothSums:
        """The residuals along the confidence, for the measures without bins."""
        return SmoothSums.from_predictions(self.confidence, self.correct)

    @cached_property
    def classes(self) -> ClassSums:
        """The sums per bin of each class's own probability."""
        return class_sums(self.probabilities, self.labels, self.bin_count)

    @cached_property
    def brier_parts(self) -> BrierParts:
        """The four parts of the Brier score."""
        return brier_parts(self.classes)
