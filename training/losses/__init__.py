"""The losses. To add one, write its term and its recipe, and a line in LOSSES."""

from training.losses import auxiliary_terms, main_terms, objective
from training.losses.auxiliary_terms import ConfidenceGap
from training.losses.main_terms import CrossEntropy, balanced_weights
from training.losses.objective import Objective
from training.losses.terms import LossSettings, MainTerm, MeanTerm, Option, Recipe, SumTerm, Term

LOSSES: dict[str, Recipe] = {
    "ce": main_terms.CROSS_ENTROPY,
    "dca": auxiliary_terms.DCA,
    "label-smoothing": main_terms.LABEL_SMOOTHING,
    "focal": main_terms.FOCAL,
    "entropy": auxiliary_terms.ENTROPY,
    "mmce": auxiliary_terms.MMCE,
    "mmce-weighted": auxiliary_terms.MMCE_WEIGHTED,
    "soft-ece": auxiliary_terms.SOFT_ECE,
}


def build_objective(name: str, settings: LossSettings) -> Objective:
    """The objective of `name`, such as `dca` or `focal+dca`. Raises UnknownName and BadLoss."""
    return objective.compose(name, settings, LOSSES)


def loss_table() -> list[tuple[str, str, str, str]]:
    """Every loss as `--list-losses` shows it: name, title, source, and options with their defaults.

    >>> [row for row in loss_table() if row[0] == "dca"]
    [('dca', 'DCA', 'Liang et al. 2020, eq. 5 and 6', 'beta=10')]
    """
    return [(name, recipe.title, recipe.source, recipe.defaults) for name, recipe in LOSSES.items()]


def loss_title(name: str) -> str:
    """The title of a loss in tables and plots. Raises UnknownName and BadLoss.

    >>> loss_title("dca"), loss_title("ce+dca"), loss_title("focal+dca")
    ('DCA', 'cross-entropy + DCA', 'focal + DCA')
    """
    return objective.title(name, LOSSES)


def strength(name: str, settings: LossSettings) -> float | None:
    """The beta of `name`: from `settings`, else its default; None if no part or several parts have
    one.

    Raises UnknownName and BadLoss, as building the objective would.

    >>> strength("dca", LossSettings()), strength("ce", LossSettings(beta=3.0))
    (10.0, None)
    """
    options = objective.chosen_options(objective.split_name(name, LOSSES), settings, LOSSES)
    found = [values["beta"] for values in options.values() if "beta" in values]
    return found[0] if len(found) == 1 else None


__all__ = [
    "LOSSES",
    "ConfidenceGap",
    "CrossEntropy",
    "LossSettings",
    "MainTerm",
    "MeanTerm",
    "Objective",
    "Option",
    "Recipe",
    "SumTerm",
    "Term",
    "balanced_weights",
    "build_objective",
    "loss_table",
    "loss_title",
    "strength",
]
