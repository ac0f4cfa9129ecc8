"""The linear part of a blended head is scikit-learn's logistic regression."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.fitting.logistic import fit_logistic

GENERATOR = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], (40, 15, 5))
FEATURES = GENERATOR.normal(size=(60, 80)) + LABELS[:, np.newaxis] / 4
FEATURES[:, 7] = 3.0  # a channel that is dead


def fitted(classes: int) -> NDArray[np.float32]:
    """Probabilities (60, `classes`)."""
    known, labels = torch.from_numpy(FEATURES).float(), torch.from_numpy(LABELS)
    linear = fit_logistic(known, labels, classes=classes)
    p: NDArray[np.float32] = linear(known).softmax(dim=1).detach().numpy()
    return p


def test_it_agrees_with_scikit_learn() -> None:
    by_hand = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000, tol=1e-9)
    ).fit(FEATURES, LABELS)
    np.testing.assert_allclose(fitted(3), by_hand.predict_proba(FEATURES), atol=1e-3)


def test_a_class_without_images_is_not_answered() -> None:
    assert fitted(4)[:, 3].max() < 1e-3
