"""Probabilities with their labels, and the sums that several measures share, each computed at most
once.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums, FloatArray, IntArray
from calibration.measures import metrics
from calibration.measures.brier_parts import BrierParts, brier_parts
from calibration.measures.classwise import ClassSums, class_sums
from calibration.measures.equal_mass import equal_mass_sums
from calibration.measures.smooth import SmoothSums

SUM_TOLERANCE = 0.01  # for probabilities that were rounded or are in half precision


def _require_distributions(probabilities: npt.NDArray[np.floating]) -> None:
    """Raise ValueError for the first row that is no distribution: logits, or scores of one class
    against the rest.
    """
    if probabilities.ndim != 2 or not probabilities.size:
        return  # the shape is checked where the labels are
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = ~(np.abs(sums - 1) <= SUM_TOLERANCE) | ~(probabilities.min(axis=1) >= 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"each row of probabilities must be in [0, 1] and add up to 1; row {row} begins with "
            f"{np.round(probabilities[row, :3], 3).tolist()} and adds up to {sums[row]:.3f}. Pass "
            "logits through "
            "calibration.calibrators.temperature.softmax first."
        )


class MeasuredAnswers:
    """Answers whose labels are known.

    >>> MeasuredAnswers([[0.1, 0.9], [0.7, 0.3]], [1, 1]).correct
    array([ True, False])
    """

    def __init__(
        self, probabilities: npt.ArrayLike, labels: npt.ArrayLike, bin_count: int = BIN_COUNT
    ) -> None:
        """Take probabilities (N, K), each row in [0, 1] and summing to 1 within 0.01, and labels
        (N,) in 0..K-1.

        Raises:
            ValueError: rows that are no probabilities.
        """
        self.probabilities = np.asarray(probabilities)
        _require_distributions(self.probabilities)
        self.labels = np.asarray(labels)
        self.bin_count = bin_count

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
