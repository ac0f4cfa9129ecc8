"""The losses that training minimizes. To add one, write its file and add its recipe to LOSSES."""

from training.losses import (
    acls,
    bsce_gra,
    ce,
    composition,
    dca,
    entropy,
    focal,
    label_smoothing,
    mbls,
    mdca,
    mixup,
    mmce,
    soft_ece,
)
from training.losses.ce import CrossEntropy, balanced_weights
from training.losses.dca import ConfidenceGap
from training.losses.loss import MainTerm, MeanTerm, SumTerm, Term
from training.losses.mixup import Mixed, Mixup
from training.losses.objective import Objective, View
from training.losses.recipe import LossSettings, Option, Recipe

LOSSES: dict[str, Recipe] = {
    "ce": ce.RECIPE,
    "dca": dca.RECIPE,
    "dca-by-class": dca.BY_ANSWER,
    "dca-weighted": dca.WEIGHTED,
    "dca-one-sided": dca.ONE_SIDED,
    "dca-squared": dca.SQUARED,
    "dca-huber": dca.HUBER,
    "dca-running": dca.RUNNING,
    "mdca": mdca.RECIPE,
    "mmce": mmce.RECIPE,
    "mmce-weighted": mmce.WEIGHTED,
    "soft-ece": soft_ece.RECIPE,
    "entropy": entropy.RECIPE,
    "mbls": mbls.RECIPE,
    "acls": acls.RECIPE,
    "label-smoothing": label_smoothing.RECIPE,
    "focal": focal.RECIPE,
    "flsd": focal.FLSD,
    "bsce-gra": bsce_gra.RECIPE,
    "mixup": mixup.RECIPE,
}


def build_objective(name: str, settings: LossSettings) -> Objective:
    """The objective of `name`, such as `dca` or `dca+mixup`. Raises UnknownName and BadLoss."""
    return composition.compose(name, settings, LOSSES)


def loss_table() -> list[tuple[str, str, str, str]]:
    """Every loss as `--list-losses` shows it: name, title, source, and options with their defaults.

    >>> [row for row in loss_table() if row[0] == "dca"]
    [('dca', 'DCA', 'Liang et al. 2020, eq. 5 and 6', 'beta=2 held_out=0.2 start=0.4')]
    """
    return [(name, recipe.title, recipe.source, recipe.defaults) for name, recipe in LOSSES.items()]


def loss_title(name: str) -> str:
    """The title of a loss in tables and plots. Raises UnknownName and BadLoss.

    >>> loss_title("dca"), loss_title("ce+dca"), loss_title("dca_huber+mixup")
    ('DCA', 'cross-entropy + DCA', 'DCA Huber (experiment) + mixup')
    """
    return composition.title(name, LOSSES)


def strength(name: str, settings: LossSettings) -> float | None:
    """The beta of `name`: from `settings`, else its default; None if no part or several parts have
    one.

    Raises UnknownName and BadLoss, as building the objective would.

    >>> strength("dca", LossSettings()), strength("ce", LossSettings(beta=3.0))
    (2.0, None)
    """
    options = composition.chosen_options(composition.split_name(name, LOSSES), settings, LOSSES)
    found = [values["beta"] for values in options.values() if "beta" in values]
    return found[0] if len(found) == 1 else None


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
    "loss_table",
    "loss_title",
    "strength",
]
