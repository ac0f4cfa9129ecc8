"""How well a candidate of a search does on validation, after a calibrator that is fitted there."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.measures.confusion import KNOWN_IMAGES, confusion_matrix, recalls
from calibration.measures.metrics import log_loss
from training.evaluation.calibrators import fit_cautiously
from training.evaluation.findings import evaluate_findings
from training.evaluation.predictions import Predictions
from training.runs.config import CandidateScore

Choices = dict[str, str | float]


def class_score(classes: Sequence[str], known: Predictions, choices: Choices) -> CandidateScore:
    """The score after a temperature."""
    logits, labels = known.logits, known.labels
    probabilities = fit_cautiously(logits, labels, known.groups)(logits)
    predicted = probabilities.argmax(axis=1)
    recall = [each for each in recalls(confusion_matrix(probabilities, labels)) if each is not None]
    return CandidateScore(
        choices=choices,
        val_nll=float(log_loss(probabilities, labels).mean()),
        val_accuracy=float((predicted == labels).mean()),
        val_mean_recall=float(np.mean(recall)) if recall else None,
        unanswered=_unanswered(classes, labels, predicted),
    )


def findings_score(
    names: Sequence[str], predicted: Predictions, choices: Choices
) -> CandidateScore:
    """The score over all known labels, after the calibrator of each finding."""
    evaluation, labels = evaluate_findings(names, {"val": predicted}), predicted.labels
    known, p = ~np.isnan(labels), evaluation.probabilities("val", "calibrated")
    own = np.maximum(np.where(labels == 1, p, 1 - p), np.finfo(float).tiny)
    return CandidateScore(
        choices=choices,
        val_nll=float(-np.log(own[known]).mean()),
        val_accuracy=float(((p >= 0.5) == (labels == 1))[known].mean()),
    )


def _unanswered(
    classes: Sequence[str], labels: NDArray[np.int64], predicted: NDArray[np.int64]
) -> tuple[str, ...]:
    """Classes that are never answered though enough images are of them.

    >>> _unanswered(("a", "b", "c"), np.array([0] * 9 + [1] * 5 + [2]), np.zeros(15, np.int64))
    ('b',)
    """
    return tuple(
        name
        for label, name in enumerate(classes)
        if (labels == label).sum() >= KNOWN_IMAGES and not (predicted == label).any()
    )
