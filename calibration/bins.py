"""Confidence bins and the five additive sums from which every binned measure is computed.

A bin is right-closed, (k/M, (k+1)/M]; confidence 0 belongs to the first. Sums of days, processes
and replicas merge by addition, so a report on ten million labels costs as much as a report on ten.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

BIN_COUNT = 15

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def bin_index(confidence: npt.ArrayLike, bin_count: int = BIN_COUNT) -> IntArray:
    """Return the bin, int64 in 0..M-1, of each confidence in [0, 1], of any shape.

    Only this and `bin_of` assign bins in Candor. ValueError for a value outside [0, 1], or no
    number.

    A number has one bin whatever its type: the float64 and the float32 number nearest to k/M both
    count as k/M. So a float32 confidence keeps its bin when a ledger or JSON returns it as a
    double.

    >>> bin_index([0.0, 0.5, 0.50001, 1.0], bin_count=2)
    array([0, 0, 1, 1])
    """
    values = np.asarray(confidence)
    if values.dtype != np.float32:
        values = values.astype(np.float64, copy=False)
    if not (values.size == 0 or (values.min() >= 0 and values.max() <= 1)):  # NaN fails both
        raise ValueError("confidence must be in [0, 1]; got a value outside it, or NaN")
    edges = _edges(bin_count)
    if values.size < _MANY or bin_count > _FEW_EDGES:
        return np.asarray(
            np.searchsorted(edges.astype(values.dtype), values, side="left"), dtype=np.int64
        )
    # for many values, a pass per edge is faster than a search per value
    below = np.zeros(values.shape, dtype=np.uint8)
    for edge in edges.astype(values.dtype):
        below += values > edge
    return below.astype(np.int64)


_MANY, _FEW_EDGES = 200, 40


@lru_cache(maxsize=64)
def _edges(bin_count: int) -> FloatArray:
    """k/M for k = 1..M-1, or the nearest float32 if larger. ceil(p M) would misplace some."""
    exact = np.arange(1, bin_count) / bin_count
    return np.maximum(exact, exact.astype(np.float32).astype(np.float64))


BIN_EDGES = _edges(BIN_COUNT).tolist()


def bin_of(confidence: float) -> int:
    """Return `bin_index` of one confidence in [0, 1], without the cost of an array.

    Raises ValueError as it does.

    >>> bin_of(0.0), bin_of(1.0)
    (0, 14)
    """
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence must be in [0, 1]; got {confidence}")
    return bisect_left(BIN_EDGES, confidence)


def paired(
    confidence: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return both as arrays (N,). Raises ValueError if they are not of one such shape."""
    p, c = np.asarray(confidence), np.asarray(correct)
    if p.shape != c.shape or p.ndim != 1:
        raise ValueError(f"confidence {p.shape} and correct {c.shape} must both be of shape (N,)")
    return p, c


def chunks(n: int) -> Iterator[slice]:
    """Cut n rows into slices that fit the processor's cache, which also bounds the memory."""
    return (slice(start, start + _CHUNK) for start in range(0, n, _CHUNK))


_CHUNK = 1 << 15


@dataclass(frozen=True, eq=False)
class BinSums:
    """Sums per confidence bin; p is the top-label confidence, c is 1 if it was right, else 0.

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
        """Sum up predictions by confidence (N,) in [0, 1], and whether each was `correct` (N,).

        ValueError for shapes that differ, or a confidence outside [0, 1].

        >>> BinSums.from_predictions([0.9, 0.8, 0.3], [True, False, True], bin_count=2).correct
        array([1., 1.])
        """
        p, c = paired(confidence, correct)
        parts = (
            cls.from_index(bin_index(p[rows], bin_count), p[rows], c[rows], bin_count)
            for rows in chunks(len(p))
        )
        return sum(parts, start=cls.zeros(bin_count))

    @classmethod
    def from_index(
        cls,
        index: IntArray,
        confidence: npt.NDArray[Any],
        correct: npt.NDArray[Any],
        bin_count: int,
    ) -> "BinSums":
        """Sum up answers whose bins (N,) in 0..M-1 are given, for bins of unequal width."""
        p, c = confidence.astype(np.float64), correct.astype(np.float64)
        error = c - p
        n = np.bincount(index, minlength=bin_count)
        return cls(
            n.astype(np.int64),
            *(_total(index, each, bin_count) for each in (p, c, p * (1 - p), error * error)),
        )

    def __add__(self, other: "BinSums") -> "BinSums":
        return BinSums(
            self.n + other.n,
            self.confidence + other.confidence,
            self.correct + other.correct,
            self.variance + other.variance,
            self.squared_error + other.squared_error,
        )

    def __sub__(self, other: "BinSums") -> "BinSums":
        """The sums without `other`, which are of some of the same predictions."""
        return BinSums(
            self.n - other.n,
            self.confidence - other.confidence,
            self.correct - other.correct,
            self.variance - other.variance,
            self.squared_error - other.squared_error,
        )

    @property
    def total(self) -> int:
        """N, the number of predictions summed."""
        return int(self.n.sum())

    @property
    def difference(self) -> FloatArray:
        """(M,) D = C - S: negative if confidence exceeds accuracy."""
        return self.correct - self.confidence

    def as_rows(self) -> list[dict[str, float]]:
        """Return one plain dictionary per bin, ready for JSON."""
        columns = (self.n, self.confidence, self.correct, self.variance, self.squared_error)
        return [
            dict(zip(_KEYS, (column[m].item() for column in columns), strict=True))
            for m in range(len(self.n))
        ]

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "BinSums":
        """Rebuild sums from `as_rows`. Raises KeyError: a row lacks one of the five sums."""
        n, *sums = zip(*([row[key] for key in _KEYS] for row in rows), strict=True)
        return cls(
            np.array(n, dtype=np.int64), *(np.array(column, dtype=np.float64) for column in sums)
        )


def equal_mass_sums(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bin_count: int = BIN_COUNT
) -> BinSums:
    """Sum up answers in bins (e[m-1], e[m]] whose edges are quantiles of the confidences.

    They are those of the adaptive ECE (Nguyen and O'Connor 2015). Where most confidences are near
    1, bins of equal width put nearly all answers into one bin, where opposite errors cancel. The
    edges depend on the answers, so these sums do not merge with others.

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


def _total(index: IntArray, values: FloatArray, bin_count: int) -> FloatArray:
    return np.asarray(np.bincount(index, weights=values, minlength=bin_count), dtype=np.float64)


_KEYS = ("n", "confidence", "correct", "variance", "squared_error")
