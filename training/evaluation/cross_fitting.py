"""Validation answers as a calibrator gives them that has not seen their labels.

The calibrator in the graph is fitted on all validation images. Promises about its answers must not be fitted on the
same labels, because it fits them better than new ones. So each tenth gets the probabilities of a calibrator that was
fitted on the other nine tenths (cross-fitting, as in CV+: Barber et al. 2021).
"""

import numpy as np
from numpy.typing import NDArray

from calibration.calibrators import Calibrator

FOLDS = 10


def cross_fitted(
    kind: type[Calibrator],
    logits: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    groups: NDArray[np.int64] | None = None,
    folds: int = FOLDS,
) -> NDArray[np.float64]:
    """Return probabilities (N, K), each row from a calibrator of this kind that was fitted without it.

    Args:
        kind: a calibrator.
        logits: (N, K).
        labels: (N,) in 0..K-1.
        groups: (N,), patients or the like, kept together in a fold; None if every image stands alone.
        folds: number of parts; fewer if there are fewer images or groups.

    Raises:
        ValueError: fewer than two images or groups.
    """
    _, units = np.unique(np.arange(len(labels)) if groups is None else groups, return_inverse=True)
    count = int(units.max(initial=-1)) + 1
    if count < 2:
        raise ValueError(f"promises about a fitted calibrator need at least two images or groups; got {count}")
    fold = (np.random.default_rng(0).permutation(count) % min(folds, count))[units]
    probabilities = np.empty(logits.shape)
    for number in range(min(folds, count)):
        held_out = fold == number
        probabilities[held_out] = kind.fit(logits[~held_out], labels[~held_out])(logits[held_out])
    return probabilities
