"""Windows of time: when an error began, and whether it ended, on blocks of the labels."""

from typing import Final

import numpy as np

from calibration.bins import FloatArray, IntArray

BLOCKS: Final = 26
_EQUAL = 24  # the newest of these is cut in three, since what began lately matters most
_CUTS = np.append(np.arange(_EQUAL) / _EQUAL, [1 - 0.5 / _EQUAL, 1 - 0.2 / _EQUAL])

_PAIRS = [(begin, end) for end in range(1, BLOCKS + 1) for begin in range(end)]
BEGIN: Final = np.array([begin for begin, _ in _PAIRS])
END: Final = np.array([end for _, end in _PAIRS])
OPEN: Final = END == BLOCKS
# from the first label 1/4; begun later and still open 9/20; closed again 3/10
PRIOR: Final = np.log(
    np.where(OPEN, np.where(BEGIN == 0, 0.25, 0.45 / (BLOCKS - 1)), 0.3 / (~OPEN).sum())
)


def blocks_of(n: int) -> IntArray:
    """Number of the block of each of n labels, ascending."""
    return np.searchsorted(_CUTS, np.arange(n) / max(n, 1), side="right") - 1


def window_sums(values: FloatArray) -> FloatArray:
    """Sums (groups, windows, ...) of `values` (groups, BLOCKS, ...) over each window.

    >>> window_sums(np.ones((1, BLOCKS)))[0, (BEGIN == 2) & (END == 5)]
    array([3.])
    """
    running = np.concatenate([np.zeros_like(values[:, :1]), values.cumsum(axis=1)], axis=1)
    return np.asarray(running[:, END] - running[:, BEGIN])


def most_in_a_row(values: FloatArray) -> FloatArray:
    """Largest sum of consecutive blocks (groups, ...) of `values` (groups, BLOCKS, ...)."""
    running = np.concatenate([np.zeros_like(values[:, :1]), values.cumsum(axis=1)], axis=1)
    return np.asarray((running - np.minimum.accumulate(running, axis=1)).max(axis=1))
