"""Confidence bins and the five additive sums from which every binned measure is computed.

A bin is right-closed, (k/M, (k+1)/M]; confidence 0 belongs to the first. Sums merge by addition over time, processes
and replicas, which is why a report on ten million labels costs what it costs on ten.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BIN_COUNT = 15

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def bin_index(confidence: npt.ArrayLike, bin_count: int = BIN_COUNT) -> IntArray:
    """Return the bin of each confidence, right-closed.

    Args:
        confidence: any shape, values in [0, 1]. float32 edges are honored as float32: the float32 number nearest to
            k/15 counts as k/15.
        bin_count: M, at least 1.

    Returns:
        int64 array of the same shape, values 0..M-1.

    Raises:
        ValueError: a value outside [0, 1], or not a number.

    >>> bin_index([0.0, 0.5, 0.50001, 1.0], bin_count=2)
    array([0, 0, 1, 1])
    """
    values = np.asarray(confidence)
    if values.dtype != np.float32:
        values = values.astype(np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError("confidence must lie in [0, 1]; got a value outside it, or NaN")
    # An edge is k/M correctly rounded in the type of the data; ceil(p * M) would misplace some of them.
    edges = (np.arange(1, bin_count) / bin_count).astype(values.dtype)
    return np.asarray(np.searchsorted(edges, values, side="left"), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class BinSums:
    """Sums per confidence bin over labeled predictions; p is the top-label confidence, c is 1 if it was right.

    Attributes:
        n: (M,) int64, predictions.
        confidence: (M,) S = sum p.
        correct: (M,) C = sum c.
        variance: (M,) V = sum p (1 - p), the variance of C if the confidences are true.
        squared_error: (M,) Q = sum (c - p)^2.
    """

    n: IntArray
    confidence: FloatArray
    correct: FloatArray
    variance: FloatArray
    squared_error: FloatArray

    @classmethod
    def zeros(cls, bin_count: int = BIN_COUNT) -> "BinSums":
        """Return the sums of no predictions."""
        return cls(np.zeros(bin_count, dtype=np.int64), *(np.zeros(bin_count) for _ in range(4)))

    @classmethod
    def from_predictions(
        cls, confidence: npt.ArrayLike, correct: npt.ArrayLike, bin_count: int = BIN_COUNT
    ) -> "BinSums":
        """Sum up labeled predictions.

        Args:
            confidence: (N,) in [0, 1].
            correct: (N,) bool, or 0 and 1.
            bin_count: M.

        Raises:
            ValueError: the two differ in shape, or a confidence lies outside [0, 1].

        >>> BinSums.from_predictions([0.9, 0.8, 0.3], [True, False, True], bin_count=2).correct
        array([1., 1.])
        """
        index = bin_index(confidence, bin_count)
        p = np.asarray(confidence, dtype=np.float64)
        c = np.asarray(correct, dtype=np.float64)
        if p.shape != c.shape or p.ndim != 1:
            raise ValueError(f"confidence {p.shape} and correct {c.shape} must both be of shape (N,)")

        def total(weights: FloatArray) -> FloatArray:
            return np.bincount(index, weights=weights, minlength=bin_count).astype(np.float64)

        n = np.bincount(index, minlength=bin_count).astype(np.int64)
        return cls(n, total(p), total(c), total(p * (1 - p)), total((c - p) ** 2))

    def __add__(self, other: "BinSums") -> "BinSums":
        return BinSums(
            self.n + other.n,
            self.confidence + other.confidence,
            self.correct + other.correct,
            self.variance + other.variance,
            self.squared_error + other.squared_error,
        )

    @property
    def total(self) -> int:
        """N, the number of predictions summed."""
        return int(self.n.sum())

    @property
    def difference(self) -> FloatArray:
        """(M,) D = C - S: negative where confidence exceeds accuracy."""
        return self.correct - self.confidence

    def as_rows(self) -> list[dict[str, float]]:
        """Return one plain dictionary per bin, ready for JSON."""
        columns = (self.n, self.confidence, self.correct, self.variance, self.squared_error)
        return [dict(zip(_KEYS, (column[m].item() for column in columns), strict=True)) for m in range(len(self.n))]

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "BinSums":
        """Rebuild sums from `as_rows`.

        Raises:
            KeyError: a row lacks one of the five sums.
        """
        n, *sums = zip(*([row[key] for key in _KEYS] for row in rows), strict=True)
        return cls(np.array(n, dtype=np.int64), *(np.array(column, dtype=np.float64) for column in sums))


_KEYS = ("n", "confidence", "correct", "variance", "squared_error")
