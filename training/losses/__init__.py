"""What training minimizes. To add a loss, write its file, and its recipe into LOSSES."""

from training.losses import ce, composition, dca, mixup
from training.losses.ce import CrossEntropy, balanced_weights
from training.losses.dca import ConfidenceGap
from training.losses.loss import MainTerm, MeanTerm, SumTerm, Term
from training.losses.mixup import Mixed, Mixup
from training.losses.objective import Objective, View
from training.losses.recipe import LossSettings, Option, Recipe

LOSSES: dict[str, Recipe] = {
    "ce": ce.RECIPE,
    "dca": dca.RECIPE,
    "dca-squared": dca.SQUARED,
    "dca-huber": dca.HUBER,
    "dca-running": dca.RUNNING,
    "mixup": mixup.RECIPE,
}


def build_objective(name: str, settings: LossSettings) -> Objective:
    """The objective that `name` stands for, such as `dca` or `dca+mixup`. Raises UnknownName and BadLoss."""
    return composition.compose(name, settings, LOSSES)


def loss_title(name: str) -> str:
    """The method as a table or a picture names it. Raises UnknownName and BadLoss.

    >>> loss_title("dca"), loss_title("ce+dca"), loss_title("dca_huber+mixup")
    ('DCA', 'cross-entropy + DCA', 'DCA Huber + mixup')
    """
    return composition.title(name, LOSSES)


__all__ = [
    "LOSSES",
    "ConfidenceGap",
    "CrossEntropy",
    "LossSettings",
    "MainTerm",
    "MeanTerm",
    "Mixed",
    "Mixup",
    "Objective",
    "Option",
    "Recipe",
    "SumTerm",
    "Term",
    "View",
    "balanced_weights",
    "build_objective",
    "loss_title",
]
