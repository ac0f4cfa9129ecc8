"""Smooth ECE: the calibration error without bins (Blasiok and Nakkiran 2023, "Smooth ECE").

The residuals p - c, placed at their confidences, are smoothed by a Gaussian kernel of width s that
is reflected at 0 and 1. smECE_s is the integral of the absolute value, and the smooth ECE is the s
at which smECE_s = s. It changes little when confidences change little; the binned ECE may jump.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, bin_index, chunks, paired

GRID = 4096
Spectrum: TypeAlias = npt.NDArray[np.complex128]
_NARROWEST = 2 / GRID


def smooth_ece(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Return the smooth ECE, in [0, 1], of confidences (N,) and correctness (N,); NaN without data.

    Raises ValueError for shapes that differ, or a confidence outside [0, 1].

    >>> round(smooth_ece([0.9] * 1000, [True] * 500 + [False] * 500), 2)
    0.4
    """
    p, c = paired(confidence, correct)
    if not p.size:
        return math.nan
    bin_index(p, 1)  # raises ValueError outside [0, 1]
    parts = ((p[rows].astype(np.float64), c[rows]) for rows in chunks(len(p)))
    series = _series(sum((_spread(*part) for part in parts), start=np.zeros(GRID + 1)))
    return _fixed_point(lambda width: _area(np.abs(_blurred(series, width))) / len(p))


def _spread(p: FloatArray, correct: npt.NDArray[np.bool_]) -> FloatArray:
    """Residuals on the grid points k/4096, (4097,): each answer is shared by its two neighbors."""
    left = np.minimum((p * GRID).astype(np.int64), GRID - 1)
    share, residual = p * GRID - left, p - correct  # share of the right neighbor
    own = np.bincount(left, residual * (1 - share), GRID + 1)
    return np.asarray(own + np.bincount(left + 1, residual * share, GRID + 1), dtype=np.float64)


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
