"""The scores of scope that docs/results.md compares: what is far scores higher."""

import numpy as np
import pytest

from benchmarks.training.scores import (
    Neighbors,
    disagreement,
    energy,
    relative_mahalanobis,
    virtual_logit,
)
from calibration.scope.scores import Mahalanobis


def cloud(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    mixing = np.random.default_rng(99).normal(size=(8, 8))
    return np.random.default_rng(seed).normal(size=(count, 8)) @ mixing + shift


@pytest.mark.parametrize("kind", ["neighbors", "mahalanobis", "classes"])
def test_far_features_score_higher(kind: str) -> None:
    fitted, classes = cloud(0, 120), np.arange(120) % 2
    fitted[classes == 1] += 20
    score = {
        "neighbors": lambda: Neighbors.fit(fitted),
        "mahalanobis": lambda: Mahalanobis.fit(fitted),
        "classes": lambda: Mahalanobis.fit(fitted, classes),
    }[kind]()
    far = np.random.default_rng(3).normal(size=(50, 8)) * 60
    assert np.median(score(far)) > np.quantile(score(cloud(5, 50)), 0.9)
    difference = Mahalanobis.fit(fitted, classes)(far) - Mahalanobis.fit(fitted)(far)
    assert np.allclose(relative_mahalanobis(fitted, classes)(far), difference)


def test_scores_of_answers() -> None:
    logits = np.array([[9.0, 0.0], [0.1, 0.0]])
    assert energy(logits)[0] < energy(logits)[1]
    same, split = np.array([[[0.9, 0.1]]] * 2), np.array([[[0.9, 0.1]], [[0.1, 0.9]]])
    assert disagreement(same)[0] == pytest.approx(0)
    assert disagreement(split)[0] > 0.3
    fitted = cloud(0, 80)
    score = virtual_logit(fitted, fitted[:, :2], kept=3)
    assert (
        score(cloud(1, 9, shift=50), np.zeros((9, 2))).min()
        > score(fitted, np.zeros((80, 2))).mean()
    )
