"""Scores of scope that the product does not have, since they flag less (docs/results.md): higher is
farther.

Most take features, (N, D), and are fitted on those of M in-scope images, (M, D). None of them needs
an image that is out of scope. Sources: distance to the k-th neighbor, Sun et al. 2022; relative
Mahalanobis, Ren et al. 2021; virtual logits (ViM), Wang et al. 2022; energy, Liu et al. 2020;
disagreement of an ensemble, Smith and Gal 2018.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.scope.scores import Features, Mahalanobis, Standard

Score: TypeAlias = Callable[[Features], FloatArray]


def unit_rows(features: Features) -> FloatArray:
    """Return rows (N, D) of length 1.

    >>> unit_rows(np.array([[3.0, 4.0]])).tolist()
    [[0.6, 0.8]]
    """
    rows = np.asarray(features, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True)
class Neighbors:
    """One minus the cosine similarity to the k-th most similar of the rows `bank`, (M, D)."""

    standard: Standard
    bank: FloatArray
    k: int = 5

    @classmethod
    def fit(cls, features: Features, *, k: int = 5) -> Self:
        """Keep in-scope features (M, D), M at least `k`."""
        standard = Standard.fit(features)
        return cls(standard, unit_rows(standard(features)), k)

    def __call__(self, features: Features) -> FloatArray:
        similar = unit_rows(self.standard(features)) @ self.bank.T  # (N, M)
        place = similar.shape[1] - self.k
        return np.asarray(1 - np.partition(similar, place, axis=1)[:, place])


def relative_mahalanobis(features: Features, classes: IntArray) -> Score:
    """Distance to the nearest class, less that to all in-scope features (M, D) as one."""
    own, whole = Mahalanobis.fit(features, classes), Mahalanobis.fit(features)
    return lambda rows: own(rows) - whole(rows)


def virtual_logit(features: Features, logits: Features, *, kept: int) -> Callable[..., FloatArray]:
    """The part of features outside of their `kept` main directions, as a logit beside the others.

    The score takes features (N, D) and logits (N, K), as the fit of M in-scope images does.
    """
    standard = Standard.fit(features)
    main = np.linalg.svd(standard(features), full_matrices=False)[2][:kept]

    def outside(rows: Features) -> FloatArray:
        own = standard(rows)
        return np.asarray(np.linalg.norm(own - own @ main.T @ main, axis=1))

    factor = float(np.max(logits, axis=1).mean() / max(outside(features).mean(), 1e-12))
    return lambda rows, given: factor * outside(rows) + energy(given)


def energy(logits: Features, *, temperature: float = 1.0) -> FloatArray:
    """Return minus the log of the sum of exp(logits), (N, K), at a temperature.

    >>> energy(np.array([[0.0, 0.0]])).round(3).tolist()
    [-0.693]
    """
    scaled = np.asarray(logits, np.float64) / temperature
    return np.asarray(-temperature * np.logaddexp.reduce(scaled, axis=1))


def disagreement(probabilities: Features) -> FloatArray:
    """Return the mutual information (N,) in nats between answers and members, (H, N, K).

    >>> disagreement(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])).round(3).tolist()
    [0.693]
    """
    p = np.clip(np.asarray(probabilities, np.float64), 1e-12, 1)
    mean = p.mean(axis=0)
    entropy = -(mean * np.log(mean)).sum(axis=1)
    return np.asarray(entropy + (p * np.log(p)).sum(axis=2).mean(axis=0))
