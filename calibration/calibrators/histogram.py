"""Histogram binning: a probability becomes its bin's frequency of the class on validation.

Bins hold equally many validation answers (Zadrozny and Elkan 2001; Guo et al. 2017 allow either
kind), so none is nearly empty. Several classes: `calibration.calibrators.one_vs_rest`. It may
change the predicted class. It answers 0 or 1 where a bin was pure, and one surprise then costs
hundreds of nats of negative log-likelihood: compare it by the Brier score.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, FloatArray
from calibration.calibrators.one_vs_rest import apply_each, fit_each


@dataclass(frozen=True)
class Steps:
    """A step function: `values[m]` on (edges[m-1], edges[m]]; the outer edges are 0 and 1."""

    edges: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def fit(cls, p: FloatArray, truth: npt.NDArray[np.bool_], bin_count: int = BIN_COUNT) -> Self:
        """Place the edges at quantiles of p (N,), and average truth (N,) between them.

        An edge is halfway to the next larger p, so that rounding in a graph moves no answer into
        another bin.

        >>> right = np.array([False, False, True, False])
        >>> Steps.fit(np.array([0.1, 0.2, 0.6, 0.8]), right, bin_count=2)
        Steps(edges=(0.4,), values=(0.0, 0.5))
        """
        inner = np.quantile(p, np.arange(1, bin_count) / bin_count, method="inverted_cdf")
        lower = np.unique(inner[inner < p.max()])  # so that each bin holds an answer
        values_of_p = np.unique(p)
        upper = values_of_p[np.searchsorted(values_of_p, lower, side="right")]
        halfway = (lower + upper) / 2
        edges = np.where(halfway < upper, halfway, lower)  # no number may be between them
        index = np.searchsorted(edges, p, side="left")
        right = np.bincount(index, weights=truth, minlength=len(edges) + 1)
        values = right / np.bincount(index, minlength=len(edges) + 1)
        return cls(tuple(edges.tolist()), tuple(values.tolist()))

    def __call__(self, p: FloatArray) -> FloatArray:
        return np.asarray(
            np.array(self.values)[np.searchsorted(np.array(self.edges), p, side="left")]
        )


@dataclass(frozen=True)
class Histogram:
    """Histogram binning of each class.

    >>> logits = np.log([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.2, 0.8]])
    >>> Histogram.fit(logits, [0, 1, 1, 1], bin_count=2)(logits)[:, 1]
    array([0.5, 0.5, 1. , 1. ])
    """

    name: ClassVar[str] = "histogram"
    keeps_argmax: ClassVar[bool] = False
    classes: tuple[Steps, ...]

    @classmethod
    def fit(
        cls, logits: npt.ArrayLike, labels: npt.ArrayLike, *, bin_count: int = BIN_COUNT
    ) -> Self:
        """Fit on logits (N, K) and labels (N,). Raises ValueError as `fit_each`."""
        return cls(fit_each(lambda p, truth: Steps.fit(p, truth, bin_count), logits, labels))

    def __call__(self, logits: npt.ArrayLike) -> FloatArray:
        return apply_each(self.classes, logits)

    def as_dict(self) -> dict[str, Any]:
        """Return the name, and the edges and values of each calibrated class."""
        return {
            "name": self.name,
            "classes": [{"edges": [*s.edges], "values": [*s.values]} for s in self.classes],
        }
