"""What a run learns: one of exclusive classes, or the presence of each finding."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from training.datasets import Dataset
from training.datasets.errors import BadDataset
from training.evaluation.calibrators import Method
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
from training.runs.scores import Choices, class_score, findings_score


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


OF_CLASSES: Final = TrainingTask(
    balanced_weights,
    build_objective,
    mean_answer,
    lambda _weights: None,
    lambda _names, predictions: evaluate(predictions),
    _judge,
    write_plots,
    class_score,
)
OF_FINDINGS: Final = TrainingTask(
    lambda labels, _count: finding_weights(labels),
    build_findings_objective,
    mean_odds,
    _shift,
    evaluate_findings,
    _judge_findings,
    write_finding_plots,
    findings_score,
)


def require_classes(dataset: Dataset, why: str) -> None:
    """Raise BadDataset if it has findings."""
    if dataset.has_findings:
        raise BadDataset(dataset.name, f"has findings{why}")


def task_of(described: Any) -> TrainingTask:
    """Return the task of a data set, of the record of a run, or of predictions."""
    return OF_FINDINGS if described.has_findings else OF_CLASSES
