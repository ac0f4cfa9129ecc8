"""Probabilities with labels, and sums that several measures share, computed once.

Bins that hold equally many answers are those of the adaptive ECE (Nguyen and O'Connor 2015). Where
most confidences are near 1, bins of equal width put nearly all answers into one bin, where opposite
errors cancel. The edges depend on the answers, so these sums do not merge with others.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums, FloatArray, IntArray, bin_index, paired
from calibration.measures import metrics
from calibration.measures.smooth import SmoothSums


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
    def smooth(self) -> SmoothSums:
        """The residuals along the confidence, for the measures without bins."""
        return SmoothSums.from_predictions(self.confidence, self.correct)
