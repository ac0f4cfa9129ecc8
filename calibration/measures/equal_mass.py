"""Bins that hold equally many answers, as in the adaptive ECE (Nguyen and O'Connor 2015; Nixon et
al. 2019).

Where most confidences are near 1, bins of equal width put nearly all answers into one bin, where
opposite errors cancel. The edges depend on the answers, so these sums do not merge with others.
Every measure of `calibration.measures.metrics` (ECE, noise floor, z, MCE) applies to them.
"""

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums, bin_index


def equal_mass_sums(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bin_count: int = BIN_COUNT
) -> BinSums:
    """Sum up answers in bins (e[m-1], e[m]] whose edges are quantiles of the confidences.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) bool, or 0 and 1.
        bin_count: M. Equal confidences share a bin, so there may be fewer bins, and at most N.

    Raises:
        ValueError: as `BinSums.from_predictions`.

    >>> equal_mass_sums([0.9, 0.92, 0.94, 0.96], [True] * 4, bin_count=2).n
    array([2, 2])
    """
    p, c = np.asarray(confidence), np.asarray(correct)
    if p.shape != c.shape or p.ndim != 1:
        raise ValueError(f"confidence {p.shape} and correct {c.shape} must both be of shape (N,)")
    if not p.size:
        return BinSums.zeros(bin_count)
    bin_index(p, 1)  # raises ValueError outside [0, 1]
    inner = np.quantile(p, np.arange(1, bin_count) / bin_count, method="inverted_cdf")
    edges = np.unique(inner[inner < p.max()])
    return BinSums.from_index(
        np.searchsorted(edges, p, side="left").astype(np.int64), p, c, len(edges) + 1
    )
