"""What training minimizes. To add a loss, write its file, and its recipe into LOSSES."""

from training.errors import UnknownName
from training.losses.ce import CrossEntropy, balanced_weights, ce
from training.losses.dca import ConfidenceGap, dca
from training.losses.loss import LossSettings, Objective, Recipe, Term

LOSSES: dict[str, Recipe] = {"ce": ce, "dca": dca}


def build_objective(name: str, settings: LossSettings) -> Objective:
    """The objective that `name` stands for. Raises UnknownName."""
    if name not in LOSSES:
        raise UnknownName("loss", name, tuple(LOSSES))
    return Objective(LOSSES[name](settings))


__all__ = [
    "LOSSES",
    "ConfidenceGap",
    "CrossEntropy",
    "LossSettings",
    "Objective",
    "Recipe",
    "Term",
    "balanced_weights",
    "build_objective",
]
