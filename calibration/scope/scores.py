"""How far an image is from those that a model was made for: higher is farther.

Fitted on features of in-scope images alone (Mahalanobis: Lee et al. 2018). docs/results.md compares
other scores, which flagged less.
"""

from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray

Features: TypeAlias = npt.NDArray[np.floating[Any]]
FOLDS: Final = 5
ROUNDING: Final = 1e-4  # of a feature, with room
LEAST_SPREAD: Final = 0.3  # of a feature, where the median of all is 1
LEAST_VARIANCE: Final = 1e-4  # of a direction, where features have 1


@dataclass(frozen=True)
class Standard:
    """Each feature in units of its own spread: `mean` and `scale`, (D,)."""

    mean: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, features: Features) -> Self:
        """Fit to in-scope features (M, D). A feature that varies no more than runtimes round it
        keeps its unit: else the score would be of their rounding. One that varies little, as a
        channel that is nearly always silent, gets a larger one: else the few images in which it is
        not would hide all others.
        """
        rows = np.asarray(features, np.float64)
        mean, spread = rows.mean(axis=0), rows.std(axis=0)
        rounding = np.maximum(1e-6, ROUNDING * np.abs(mean))
        scale = np.where(spread > rounding, spread, 1.0)
        return cls(mean, np.maximum(scale, LEAST_SPREAD * np.median(spread)))

    def __call__(self, features: Features) -> FloatArray:
        return np.asarray((features - self.mean) / self.scale)


@dataclass(frozen=True)
class Mahalanobis:
    """Squared Mahalanobis distance to the nearest of `centers`, (C, D); features times `whitening`,
    (D, D), have unit covariance around their center.
    """

    standard: Standard
    centers: FloatArray
    whitening: FloatArray

    @classmethod
    def fit(cls, features: Features, classes: IntArray | None = None) -> Self:
        """Fit to in-scope features (M, D): a center for each of `classes`, (M,), or one."""
        standard = Standard.fit(features)
        rows = standard(features)
        names, at = np.unique(
            np.zeros(len(rows), np.int64) if classes is None else classes, return_inverse=True
        )
        centers = np.stack([rows[at == each].mean(axis=0) for each in range(len(names))])
        return cls(standard, centers, whitening(rows - centers[at]))

    def __call__(self, features: Features) -> FloatArray:
        rows, centers = self.standard(features) @ self.whitening, self.centers @ self.whitening
        every = [((rows - center) ** 2).sum(axis=1) for center in centers]
        return np.asarray(np.min(every, axis=0))


@dataclass(frozen=True)
class SummedMahalanobis:
    """The sum of squared Mahalanobis distances of parts of the features, each in units of its
    standard deviation among images that it was not fitted on: |(features - center) matrix|^2.

    Of one distance of all features, the part with many hides the part with few. The matrix (D, D)
    is of blocks.
    """

    center: FloatArray
    matrix: FloatArray

    @classmethod
    def fit(cls, features: Features, first: int) -> Self:
        """Fit to in-scope features (M, D), of which the `first` are one part and the others one."""
        centers, matrix = [], np.zeros((features.shape[1],) * 2)
        for part in (slice(0, first), slice(first, None)):
            rows = features[:, part]
            if rows.shape[1]:
                own = Mahalanobis.fit(rows)
                centers.append(own.standard.mean)
                scale = own.standard.scale * np.sqrt(_spread_elsewhere(rows))
                matrix[part, part] = own.whitening / scale[:, None]
        return cls(np.concatenate(centers), matrix)

    def __call__(self, features: Features) -> FloatArray:
        return np.asarray((((features - self.center) @ self.matrix) ** 2).sum(axis=1))


def _spread_elsewhere(rows: Features) -> float:
    """The standard deviation of distances, each of a fit on the other four fifths of the rows."""
    fold = np.arange(len(rows)) % FOLDS
    folds = [(rows[fold != each], rows[fold == each]) for each in range(min(FOLDS, len(rows)))]
    spread = np.concatenate([Mahalanobis.fit(others)(own) for others, own in folds]).std()
    return float(spread) or 1.0


def whitening(centered: FloatArray) -> FloatArray:
    """Return W (D, D): centered rows (M, D) times W have the identity as covariance, after the
    shrinkage of Ledoit and Wolf 2004 toward a multiple of it.
    """
    m, d = centered.shape
    covariance = centered.T @ centered / m
    level = np.trace(covariance) / d
    spread = ((covariance - level * np.eye(d)) ** 2).sum()
    noise = ((centered**2).sum(axis=1) ** 2).sum() / m**2 - (covariance**2).sum() / m
    share = 1.0 if spread <= 0 else float(np.clip(noise / spread, 0.0, 1.0))
    shrunk = (1 - share) * covariance + share * level * np.eye(d)
    values, vectors = np.linalg.eigh(shrunk)
    return np.asarray(vectors / np.sqrt(np.maximum(values, LEAST_VARIANCE)))
