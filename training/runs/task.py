"""What a run learns: one of exclusive classes, or the presence of each finding.

The score of a candidate in a search is of validation, after a calibrator that is fitted there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibration.measures.confusion import KNOWN_IMAGES, confusion_matrix, recalls
from calibration.measures.metrics import log_loss
from training.datasets import Dataset
from training.datasets.errors import BadDataset
from training.evaluation.calibrators import Method, fit_cautiously
from training.evaluation.caveats import Contradiction, contradiction
from training.evaluation.evaluation import Evaluation, evaluate
from training.evaluation.finding_plots import write_finding_plots
from training.evaluation.findings import (
    FindingsEvaluation,
    evaluate_findings,
    findings_shortcomings,
)
from training.evaluation.plots import write_plots
from training.evaluation.predictions import EvaluatedSplit, Predictions
from training.evaluation.usefulness import beats_constant, shortcomings
from training.losses import (
    LossSettings,
    Objective,
    balanced_weights,
    build_findings_objective,
    build_objective,
    finding_weights,
)
from training.networks.heads import mean_answer, mean_odds
from training.runs.config import CandidateScore, RunRecord

Choices = dict[str, str | float]


@dataclass(frozen=True)
class Judgment:
    """What test says of a run.

    Attributes:
        shortcomings: where the model fails; empty if it does not.
        refused: whether `candor export` refuses it: it beats no constant answer.
        contradiction: how test contradicts the temperature, if it does.
    """

    shortcomings: list[str]
    refused: bool
    contradiction: Contradiction | None


@dataclass(frozen=True)
class TrainingTask:
    """What training, from losses to the evaluation, does with labels of a kind.

    Attributes:
        weights: balanced ones, of labels and the number of classes.
        objective: of a name and its settings.
        mean: the logits (N, K) of several heads, (M, N, K).
        shift: what has to be added to logits (K,) trained with weights; None: nothing.
        evaluate: the evaluation of the predictions of each split.
        judge: what the evaluation says of the use of a run.
        plot: write its plots into a folder.
        score: that of a candidate's predictions of validation.
    """

    weights: Callable[[Tensor, int], Tensor]
    objective: Callable[[str, LossSettings], Objective]
    mean: Callable[[Tensor], Tensor]
    shift: Callable[[Tensor], Tensor | None]
    evaluate: Callable[
        [Sequence[str], Mapping[EvaluatedSplit, Predictions]], Evaluation | FindingsEvaluation
    ]
    judge: Callable[[Any, RunRecord], Judgment]
    plot: Callable[..., None]
    score: Callable[[Sequence[str], Predictions, Choices], CandidateScore]


def _shift(weights: Tensor) -> Tensor:
    """Return what takes the weights of present and absent out of the odds of each finding again.

    With weights w the odds that minimize cross-entropy are w_present / w_absent times the true
    ones (Elkan 2001, theorem 2).
    """
    absent, present = weights.unbind(dim=1)
    known = (absent > 0) & (present > 0)
    return torch.where(known, absent / present, 1.0).log()


def _judge(evaluation: Evaluation, record: RunRecord) -> Judgment:
    found = contradiction(evaluation, "temperature")
    balanced = record.config.class_weights == "balanced"
    failures = shortcomings(evaluation, record.classes, method="temperature", balanced=balanced)
    exported: Method = "none" if found else "temperature"
    return Judgment(failures, bool(failures) and not beats_constant(evaluation, exported), found)


def _judge_findings(evaluation: FindingsEvaluation, _record: RunRecord) -> Judgment:
    failures = findings_shortcomings(evaluation)
    return Judgment(failures, bool(failures), None)


def _class_score(classes: Sequence[str], known: Predictions, choices: Choices) -> CandidateScore:
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


def _findings_score(
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


OF_CLASSES: Final = TrainingTask(
    balanced_weights,
    build_objective,
    mean_answer,
    lambda _weights: None,
    lambda _names, predictions: evaluate(predictions),
    _judge,
    write_plots,
    _class_score,
)
OF_FINDINGS: Final = TrainingTask(
    lambda labels, _count: finding_weights(labels),
    build_findings_objective,
    mean_odds,
    _shift,
    evaluate_findings,
    _judge_findings,
    write_finding_plots,
    _findings_score,
)


def require_classes(dataset: Dataset, why: str) -> None:
    """Raise BadDataset if it has findings."""
    if dataset.has_findings:
        raise BadDataset(dataset.name, f"has findings{why}")


def task_of(described: Any) -> TrainingTask:
    """Return the task of a data set, of the record of a run, or of predictions."""
    return OF_FINDINGS if described.has_findings else OF_CLASSES
