"""How far an image is from those that a model was made for: higher is farther.

Fitted on features of in-scope images alone (Mahalanobis: Lee et al. 2018). docs/results.md compares
other scores, which flagged less.
"""

from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.cross_fitting import FOLDS, cross_fit, fold_numbers

Features: TypeAlias = npt.NDArray[np.floating[Any]]
ROUNDING: Final = 1e-4  # of a feature, with room
LEAST_SPREAD: Final = 0.3  # of a feature, where the median of all is 1
LEAST_VARIANCE: Final = 1e-4  # of a direction, where features have 1


@dataclass(frozen=True)
class Mahalanobis:
    """The squared length of the vector (features - center) matrix, of features (N, D)."""

    center: FloatArray
    matrix: FloatArray

    @classmethod
    def fit(cls, features: Features) -> Self:
        """Fit a squared Mahalanobis distance to in-scope features (M, D)."""
        rows = np.asarray(features, np.float64)
        mean, scale = rows.mean(axis=0), _scale(rows)
        return cls(mean, whitening((rows - mean) / scale) / scale[:, None])

    @classmethod
    def fit_parts(cls, features: Features, first: int) -> Self:
        """Fit the sum of two distances, of the `first` features and of the others.

        Each is in units of its standard deviation among images that it was not fitted on. Of one
        distance of all features, the part with many hides the part with few.
        """
        centers, matrix = [], np.zeros((features.shape[1],) * 2)
        for part in (slice(0, first), slice(first, None)):
            rows = features[:, part]
            if rows.shape[1]:
                own = cls.fit(rows)
                centers.append(own.center)
                matrix[part, part] = own.matrix / np.sqrt(_spread_elsewhere(rows))
        return cls(np.concatenate(centers), matrix)

    def __call__(self, features: Features) -> FloatArray:
        return np.asarray((((features - self.center) @ self.matrix) ** 2).sum(axis=1))


def _scale(rows: FloatArray) -> FloatArray:
    """The unit of each feature (D,): its spread in rows (M, D).

    A feature that varies no more than runtimes round it keeps its unit: else the score would be of
    their rounding. One that varies little, as a channel that is nearly always silent, gets a larger
    one: else the few images in which it is not would hide all others.
    """
    spread = rows.std(axis=0)
    rounding = np.maximum(1e-6, ROUNDING * np.abs(rows.mean(axis=0)))
    scale = np.where(spread > rounding, spread, 1.0)
    return np.asarray(np.maximum(scale, LEAST_SPREAD * np.median(spread)))


def _spread_elsewhere(rows: Features) -> float:
    """The standard deviation of distances, each of a fit on the other four fifths of the rows."""
    folds = fold_numbers(np.zeros(len(rows)), None, seed=0, count=min(FOLDS, len(rows)))
    known = np.asarray(rows, np.float64)
    distances = cross_fit(lambda others: Mahalanobis.fit(known[others]), known, folds)
    return float(distances.std()) or 1.0


def whitening(rows: FloatArray) -> FloatArray:
    """Return W (D, D): rows (M, D) around their mean, times W, have the identity as covariance,
    after the shrinkage of Ledoit and Wolf 2004 toward a multiple of it.
    """
    centered = rows - rows.mean(axis=0)
    m, d = centered.shape
    covariance = centered.T @ centered / m
    level = np.trace(covariance) / d
    spread = ((covariance - level * np.eye(d)) ** 2).sum()
    noise = ((centered**2).sum(axis=1) ** 2).sum() / m**2 - (covariance**2).sum() / m
    share = 1.0 if spread <= 0 else float(np.clip(noise / spread, 0.0, 1.0))
    shrunk = (1 - share) * covariance + share * level * np.eye(d)
    values, vectors = np.linalg.eigh(shrunk)
    return np.asarray(vectors / np.sqrt(np.maximum(values, LEAST_VARIANCE)))
