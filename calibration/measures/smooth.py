"""Smooth ECE: the calibration error without bins (Blasiok and Nakkiran 2023, "Smooth ECE").

The residuals p - c, placed at their confidences, are smoothed by a Gaussian kernel of width s that
is reflected at 0 and 1. smECE_s is the integral of the absolute value, and the smooth ECE is the s
at which smECE_s = s. It changes little when confidences change little; the binned ECE may jump.
Residuals are kept on a fine grid of [0, 1], so that they merge by addition.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, bin_index, chunks, paired

GRID = 4096
Spectrum: TypeAlias = npt.NDArray[np.complex128]
_NARROWEST = 2 / GRID
# Integral over u of sqrt(1 - r^2) + r asin(r) - 1 with r = exp(-u^2/4): the correlation length of
# |smoothed noise|.
_MEMORY = 1.3621282


@dataclass(frozen=True, eq=False)
class SmoothSums:
    """Sums on the grid points k/4096: each answer is shared between its two neighbors.

    Attributes:
        n: answers.
        residual: (4097,) sum of p - c.
        variance: (4097,) sum of p (1 - p).
    """

    n: int
    residual: FloatArray
    variance: FloatArray

    @classmethod
    def from_predictions(cls, confidence: npt.ArrayLike, correct: npt.ArrayLike) -> "SmoothSums":
        """Sum up confidences (N,) in [0, 1] and correctness (N,). Raises ValueError."""
        p, c = paired(confidence, correct)
        parts = (
            cls._of_chunk(p[rows].astype(np.float64), c[rows].astype(np.float64))
            for rows in chunks(len(p))
        )
        return sum(parts, start=cls(0, np.zeros(GRID + 1), np.zeros(GRID + 1)))

    @classmethod
    def _of_chunk(cls, p: FloatArray, c: FloatArray) -> "SmoothSums":
        bin_index(p, 1)  # raises ValueError outside [0, 1]
        left = np.minimum((p * GRID).astype(np.int64), GRID - 1)
        share = p * GRID - left  # of the right neighbor

        def spread(values: FloatArray) -> FloatArray:
            own, right = (
                np.bincount(left, values * (1 - share), GRID + 1),
                np.bincount(left + 1, values * share, GRID + 1),
            )
            return np.asarray(own + right, dtype=np.float64)

        return cls(len(p), spread(p - c), spread(p * (1 - p)))

    def __add__(self, other: "SmoothSums") -> "SmoothSums":
        return SmoothSums(
            self.n + other.n, self.residual + other.residual, self.variance + other.variance
        )

    @cached_property
    def ece(self) -> float:
        """The smooth ECE, in [0, 1]; NaN without data.

        >>> right = [True] * 500 + [False] * 500
        >>> round(SmoothSums.from_predictions([0.9] * 1000, right).ece, 2)
        0.4
        """
        if not self.n:
            return math.nan
        series = _series(self.residual)
        return _fixed_point(lambda width: _area(np.abs(_blurred(series, width))) / self.n)

    @cached_property
    def noise_floor(self) -> float:
        """The smooth ECE of a calibrated model on these answers, about E[smECE]; NaN without data.

        The fixed point of s -> sqrt(2/pi) integral of the standard deviation of the smoothed
        residual.
        """
        if not self.n:
            return math.nan
        scale = math.sqrt(2 / math.pi)
        variance = self._smoothed_variance()
        return _fixed_point(lambda width: scale * _area(np.sqrt(variance(width))) / GRID / self.n)

    @property
    def z(self) -> float:
        """Standard deviations by which the smooth ECE exceeds its noise floor.

        At a fixed width s the variance of the integral is 2/pi s 1.36 integral var(t) dt, because
        the smoothed noise at two points correlates as exp(-u^2 / 4 s^2). The variance of the fixed
        point is (2/3)^2 of that, because the floor falls like s^(-1/2).
        """
        floor = self.noise_floor
        if not floor > 0:
            return math.nan
        variance = _area(self._smoothed_variance()(floor)) / GRID
        spread = math.sqrt(2 / math.pi * _MEMORY * floor * variance) / self.n / 1.5
        return (self.ece - floor) / spread

    def _smoothed_variance(self) -> Callable[[float], FloatArray]:
        """From a width to the variance (4097,) of the smoothed residual as a density: the sum of
        p (1 - p) K(t, p)^2.

        K is the Gaussian plus its image behind 0 or 1; its square is the two squares plus twice
        their product.
        """
        series = _series(self.variance)

        def smoothed(width: float) -> FloatArray:
            squares = (
                np.maximum(_blurred(series, width / math.sqrt(2)), 0)
                * GRID
                / (2 * width * math.sqrt(math.pi))
            )
            falloff = np.exp(-((np.arange(GRID + 1) / GRID / width) ** 2)) / (
                math.sqrt(2 * math.pi) * width
            )
            left, right = falloff @ self.variance, falloff[::-1] @ self.variance
            return np.asarray(squares + 2 * falloff * left + 2 * falloff[::-1] * right)

        return smoothed


def _fixed_point(error: Callable[[float], float]) -> float:
    """The width that equals its error, which falls with the width; at least the narrowest's."""
    low, high = math.log(_NARROWEST), 0.0
    if error(_NARROWEST) <= _NARROWEST:
        return error(_NARROWEST)
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if error(math.exp(middle)) <= math.exp(middle) else (middle, high)
    return math.exp(high)


def _series(mass: FloatArray) -> Spectrum:
    """The cosine series of masses (4097,), mirrored at 0 and 1 to one period of length 2."""
    return np.fft.rfft(np.concatenate([[2 * mass[0]], mass[1:-1], [2 * mass[-1]], mass[-2:0:-1]]))


def _blurred(series: Spectrum, width: float) -> FloatArray:
    """The masses (4097,) of a series, smoothed with a reflected Gaussian."""
    decay = np.exp(-((math.pi * width * np.arange(GRID + 1)) ** 2) / 2)
    return np.fft.irfft(series * decay, 2 * GRID)[: GRID + 1]


def _area(values: FloatArray) -> float:
    """Integrate by the trapezoidal rule, in units of a grid step."""
    return float(values.sum() - (values[0] + values[-1]) / 2)
