"""Logistic regressions that a person fits on frozen features, with scikit-learn, and what they and
the defaults achieve on test.

Features are the means of the backbone's feature maps, standardized on the images that are fitted
on: all of train and val, as the defaults have them. There are four: weak and strong regularization,
with and without balanced class weights. The best of them in each measure is the yardstick.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from calibration.bins import BinSums
from calibration.measures.confusion import class_rates, confusion_matrix
from calibration.measures.metrics import ece, ece_z, log_loss, top_label

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
STRENGTHS = (1.0, 1e-2)  # C of scikit-learn, of which 1 is its default
SMALLEST = 1e-9  # probability of a class that is not in train
DRAWS = 200  # of the bootstrap


class Achieved(NamedTuple):
    """Measures of test, and the standard errors of the first three."""

    accuracy: float
    balanced_accuracy: float
    nll: float
    ece: float
    ece_z: float
    errors: tuple[float, float, float]

    def leads(self, over: tuple[float, float, float]) -> NDArray[np.float64]:
        """How much better each measure is than `over`, in standard errors, (3,)."""
        found = self.accuracy - over[0], self.balanced_accuracy - over[1], over[2] - self.nll
        return np.array(found) / np.maximum(self.errors, SMALLEST)


def achieved(probabilities: NDArray[np.float64], labels: Labels) -> Achieved:
    """Measure probabilities (N, K) against labels (N,)."""
    confidence, predicted = top_label(probabilities)
    right = predicted == labels
    confusion = confusion_matrix(probabilities, labels)
    images = confusion.sum(axis=1)
    known, recall = images > 0, class_rates(confusion).sensitivity
    # Laplace's rule: a recall of 0 or 1 on few images is not certain
    smooth = (confusion.diagonal()[known] + 1) / (images[known] + 2)
    spread = np.sqrt((smooth * (1 - smooth) / images[known]).sum()) / known.sum()
    losses = log_loss(probabilities, labels)
    root = len(labels) ** 0.5
    sums = BinSums.from_predictions(confidence, right)
    errors = float(right.std() / root), float(spread), float(losses.std() / root)
    return Achieved(
        float(right.mean()),
        float(recall[known].mean()),
        float(losses.mean()),
        ece(sums),
        ece_z(sums),
        errors,
    )


def regressions(
    train: tuple[Features, Labels], test: tuple[Features, Labels], *, classes: int
) -> list[NDArray[np.float64]]:
    """Fit each regression on features (N, C) and labels (N,); return its probabilities of test."""
    found = []
    for candidate in candidates():
        # All components: a rotation, with fewer dimensions than features where images are few.
        model = make_pipeline(StandardScaler(), PCA(), candidate).fit(*train)
        probabilities = np.full((len(test[1]), classes), SMALLEST)
        probabilities[:, model.classes_] = np.maximum(model.predict_proba(test[0]), SMALLEST)
        found.append(probabilities)
    return found


def candidates() -> Iterator[Any]:
    """What a person tries."""
    for strength in STRENGTHS:
        for weights in (None, "balanced"):
            yield LogisticRegression(C=strength, class_weight=weights, max_iter=1000)


def behind_by_chance(
    ours: NDArray[np.float64], theirs: list[NDArray[np.float64]], labels: Labels
) -> NDArray[np.float64]:
    """The probability (3,) that each measure is behind by more than one standard error on test
    images drawn again, if it is equal to the best regression's on these (bootstrap).
    """
    shift = achieved(ours, labels).leads(best(theirs, labels))
    generator, behind = np.random.default_rng(0), np.zeros(3)
    for _ in range(DRAWS):
        drawn = generator.integers(len(labels), size=len(labels))
        known = labels[drawn]
        leads = achieved(ours[drawn], known).leads(best([p[drawn] for p in theirs], known))
        behind += leads - shift < -1
    return behind / DRAWS


def best(theirs: list[NDArray[np.float64]], labels: Labels) -> tuple[float, float, float]:
    """The best accuracy, balanced accuracy and NLL, each of another regression if need be."""
    found = [achieved(probabilities, labels) for probabilities in theirs]
    return (
        max(each.accuracy for each in found),
        max(each.balanced_accuracy for each in found),
        min(each.nll for each in found),
    )
