"""What a run learns: one of exclusive classes, or the presence of each finding."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from training.evaluation.evaluation import (
    EvaluatedSplit,
    Evaluation,
    Predictions,
    evaluate,
    write_evaluation,
)
from training.evaluation.finding_plots import write_finding_plots
from training.evaluation.findings import FindingsEvaluation, evaluate_findings
from training.evaluation.plots import write_plots
from training.losses import (
    LossSettings,
    Objective,
    balanced_weights,
    build_findings_objective,
    build_objective,
    finding_weights,
)
from training.networks.heads import mean_answer, mean_odds


@dataclass(frozen=True)
class TrainingTask:
    """What training, from losses to the evaluation, does with labels of a kind.

    Attributes:
        weights: balanced ones, of labels and the number of classes.
        objective: of a name and its settings.
        mean: the logits (N, K) of several heads, (M, N, K).
        shift: what has to be added to logits (K,) trained with weights; None: nothing.
        evaluate: the evaluation of the predictions of each split.
        write, plot: put it, and its plots, into a folder.
    """

    weights: Callable[[Tensor, int], Tensor]
    objective: Callable[[str, LossSettings], Objective]
    mean: Callable[[Tensor], Tensor]
    shift: Callable[[Tensor], Tensor | None]
    evaluate: Callable[
        [Sequence[str], Mapping[EvaluatedSplit, Predictions]], Evaluation | FindingsEvaluation
    ]
    write: Callable[[Path, Any], None]
    plot: Callable[..., None]


def _shift(weights: Tensor) -> Tensor:
    """Return what takes the weights of present and absent out of the odds of each finding again.

    With weights w the odds that minimize cross-entropy are w_present / w_absent times the true
    ones (Elkan 2001, theorem 2).
    """
    absent, present = weights.unbind(dim=1)
    known = (absent > 0) & (present > 0)
    return torch.where(known, absent / present, 1.0).log()


OF_CLASSES: Final = TrainingTask(
    balanced_weights,
    build_objective,
    mean_answer,
    lambda _weights: None,
    lambda _names, predictions: evaluate(predictions),
    write_evaluation,
    write_plots,
)
OF_FINDINGS: Final = TrainingTask(
    lambda labels, _count: finding_weights(labels),
    build_findings_objective,
    mean_odds,
    _shift,
    evaluate_findings,
    lambda folder, evaluation: evaluation.write(folder),
    write_finding_plots,
)


def task_of(described: Any) -> TrainingTask:
    """Return the task of a data set, or of the record of a run."""
    return OF_FINDINGS if described.has_findings else OF_CLASSES
