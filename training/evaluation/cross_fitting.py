"""Validation answers as a calibrator gives them that has not seen their labels.

The calibrator in the graph is fitted on all validation images. Promises about its answers must not
be fitted on the same labels, because it fits them better than new ones. So each tenth gets the
probabilities of a calibrator that was fitted on the other nine tenths (cross-fitting, as in CV+:
Barber et al. 2021).
"""

import numpy as np
from numpy.typing import NDArray

from calibration.calibrators.protocol import Calibrator

FOLDS = 10


def cross_fitted(
    kind: type[Calibrator],
    logits: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    groups: NDArray[np.int64] | None = None,
    fitted_on: NDArray[np.float64] | None = None,
    folds: int = FOLDS,
) -> NDArray[np.float64]:
    """Return probabilities (N, K), each row from a calibrator of this kind that was fitted without
    it.

    Args:
        kind: a calibrator.
        logits: (N, K).
        labels: (N,) in 0..K-1.
        groups: (N,), patients or the like, kept together in a fold; None if every image stands
            alone.
        fitted_on: (C * N, K), other logits to fit on: of C changed copies of each image, copy by
            copy.
        folds: number of parts; fewer if there are fewer images or groups.

    Raises:
        ValueError: fewer than two images or groups.
    """
    _, units = np.unique(np.arange(len(labels)) if groups is None else groups, return_inverse=True)
    count = int(units.max(initial=-1)) + 1
    if count < 2:
        raise ValueError(
            f"promises about a fitted calibrator need at least two images or groups; got {count}"
        )
    fold = (np.random.default_rng(0).permutation(count) % min(folds, count))[units]
    probabilities = np.empty(logits.shape)
    fitting = logits if fitted_on is None else fitted_on
    copies = len(fitting) // len(labels)
    for number in range(min(folds, count)):
        held_out = fold == number
        known = np.tile(~held_out, copies)
        probabilities[held_out] = kind.fit(fitting[known], np.tile(labels, copies)[known])(
            logits[held_out]
        )
    return probabilities
