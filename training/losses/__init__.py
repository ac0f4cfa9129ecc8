"""The losses that training minimizes."""

from training.losses.auxiliary_terms import ConfidenceGap
from training.losses.findings import finding_weights
from training.losses.main_terms import CrossEntropy, balanced_weights
from training.losses.objective import (
    Objective,
    build_findings_objective,
    build_objective,
    loss_title,
    strength,
)
from training.losses.registry import LOSSES
from training.losses.terms import Loss, LossSettings, MainTerm, MeanTerm, Option, SumTerm, Term

__all__ = [
    "LOSSES",
    "ConfidenceGap",
    "CrossEntropy",
    "Loss",
    "LossSettings",
    "MainTerm",
    "MeanTerm",
    "Objective",
    "Option",
    "SumTerm",
    "Term",
    "balanced_weights",
    "build_findings_objective",
    "build_objective",
    "finding_weights",
    "loss_title",
    "strength",
]
