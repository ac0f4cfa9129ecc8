"""Remedies for a model whose confidence has drifted, and the choice among them on labeled answers.

All work on the logarithms of served probabilities, which are logits up to a constant per row, and
all are affine maps of them, so that each is a few standard operators at the end of the graph:

- temperature: confidence rises or falls in all classes alike (Guo et al. 2017);
- case mix: one bias per class, the correction for a changed frequency of the classes (label shift:
  Saerens et al. 2002; with labels its maximum likelihood needs no EM);
- temperature and class bias: both (bias-corrected temperature scaling: Alexandari et al. 2020);
- vector: one weight and one bias per class (Guo et al. 2017).

`choose` compares them by cross-validation and takes the simplest that no richer one beats.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.affine import (
    Affine,
    bias_form,
    temperature_form,
    vector_form,
)
from calibration.calibrators.temperature import HIGHEST, LOWEST, at_bound, check_answers, softmax
from calibration.cross_fitting import Rows, cross_fit, fold_numbers
from calibration.measures.metrics import log_loss, top_label
from calibration.wording import counted

REPEATS = 4
# standard errors by which a remedy must improve on the model as served, or on a simpler remedy
MARGIN = 1.0
MIN_PER_CLASS = 10  # labels of each class before a bias of its own is fitted


@dataclass(frozen=True)
class Remedy:
    """A family of affine maps. `parameters`: how many numbers it fits for K classes."""

    name: str
    title: str
    basis: Callable[[int], FloatArray]
    parameters: Callable[[int], int]
    keeps_argmax: bool

    def fit(
        self, logits: npt.ArrayLike, labels: npt.ArrayLike, *, weights: npt.ArrayLike | None = None
    ) -> Affine:
        """Fit on logits (N, K) and labels (N,); answers count `weights` (N,) times.

        A temperature is at most 20, which says next to nothing: labels that contradict the answers
        would otherwise reverse them.
        """
        z = np.asarray(logits, dtype=np.float64)
        basis = self.basis(z.shape[1])
        fitted = Affine.fit(z, labels, basis, weights=weights, method=self.name)
        if not self.keeps_argmax or fitted.weight[0] >= 1 / HIGHEST:
            return fitted
        return replace(fitted, weight=(1 / HIGHEST,) * z.shape[1])


TEMPERATURE: Final = Remedy(
    "temperature", "a temperature", temperature_form, lambda classes: 1, True
)
CASE_MIX: Final = Remedy(
    "case_mix", "a correction for a changed case mix", bias_form, lambda classes: classes - 1, False
)
TEMPERATURE_BIAS: Final = Remedy(
    "temperature_bias",
    "a temperature and one bias per class",
    lambda classes: np.concatenate([temperature_form(classes), bias_form(classes)], axis=1),
    lambda classes: classes,
    False,
)
VECTOR: Final = Remedy(
    "vector",
    "one weight and one bias per class",
    vector_form,
    lambda classes: 2 * classes - 1,
    False,
)
REMEDIES: Final[Mapping[str, Remedy]] = {
    each.name: each for each in (TEMPERATURE, CASE_MIX, TEMPERATURE_BIAS, VECTOR)
}
_OF_ONE: Final = {
    CASE_MIX.name: "a bias",
    TEMPERATURE_BIAS.name: "a temperature and a bias",
    VECTOR.name: "two weights and a bias",
}


def title_of(name: str, *, of_one: bool) -> str:
    """What a remedy is called; `of_one`: of one probability, as that of a finding."""
    return _OF_ONE.get(name, REMEDIES[name].title) if of_one else REMEDIES[name].title


@dataclass(frozen=True)
class Trial:
    """One remedy under cross-validation.

    Attributes:
        name: the remedy.
        parameters: how many numbers it fits.
        nll: mean negative log-likelihood of held-out answers, in nats.
        improvement: the NLL as served minus `nll`, in nats per answer.
        standard_error: of the improvement, from the differences for each answer.
        classwise_gap: largest |confidence - accuracy| over the predicted classes, on held-out
            answers.
        excluded: a clause that says why it was not considered, and the figures are NaN; None if it
            was considered.
    """

    name: str
    parameters: int
    nll: float
    improvement: float
    standard_error: float
    classwise_gap: float
    excluded: str | None = None


@dataclass(frozen=True)
class RemedyChoice:
    """The outcome of a comparison.

    Attributes:
        chosen: name of the remedy; None if none improves on the model as served by a standard
            error.
        better: a remedy that beats the chosen one but was not allowed, since it may change the
            predicted class.
        served_nll: of the model as served, in nats.
        served_classwise_gap: as `Trial.classwise_gap`, as served.
        trials: one per remedy, simplest first.
        rows: how many answers compared them.
    """

    chosen: str | None
    better: str | None
    served_nll: float
    served_classwise_gap: float
    trials: tuple[Trial, ...]
    rows: int


def choose(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    served: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    allow_label_changes: bool = False,
    exclude: Mapping[str, str] | None = None,
    seed: int = 0,
    compared: Callable[[int, int], object] = lambda _done, _total: None,
) -> RemedyChoice:
    """Compare the remedies on labeled answers and take the simplest that no richer one beats.

    Each remedy is fitted and judged by 5-fold cross-validation, repeated 4 times. A richer remedy
    beats a simpler one if its negative log-likelihood is lower by more than one standard error of
    the difference plus one part in N for each further parameter. The remedy taken must improve on
    the model as served by one standard error too. Held-out answers count against every fit, so that
    is rarer for a calibrated model than one standard error suggests: fewer than 1 in 100
    (docs/benchmarks.md).

    Args:
        logits: (N, K), logarithms of the probabilities as served.
        served: (N, K), the probabilities that remedies must improve, none of them 0; None for
            those of the logits. Rounded ones do not add up to 1.
        weights: (N,), how many answers each stands for (1 / the probability of an audit draw); None
            for one each.
        groups: (N,), patients or the like, kept together in a fold.
        exclude: remedies that do not apply, by name, each with its reason.
        compared: told before each remedy how many of how many were compared.

    Raises ValueError as `calibration.calibrators.affine.fit_affine`, and for fewer answers or
    groups than folds.
    """
    z, y = check_answers(logits, labels)
    share = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    share = share / share.sum()
    generator = np.random.default_rng(seed)
    folds = [fold_numbers(y, groups, seed=generator) for _ in range(REPEATS)]
    as_served = softmax(z) if served is None else np.asarray(served)
    served_loss = log_loss(as_served, y)
    reasons = dict(exclude or {}) | _reasons(y, z.shape[1], set(exclude or {}))
    trials, losses = [], {}
    for number, remedy in enumerate(REMEDIES.values()):
        compared(number, len(REMEDIES))
        parameters = remedy.parameters(z.shape[1])
        reason = reasons.get(remedy.name) or undetermined(remedy.fit(z, y, weights=weights))
        if reason:
            trials.append(Trial(remedy.name, parameters, *(float("nan"),) * 4, excluded=reason))
            continue
        loss, gap = _validate(remedy, z, y, weights, share, folds)
        losses[remedy.name] = loss
        difference = served_loss - loss
        trials.append(
            Trial(
                remedy.name,
                parameters,
                float(share @ loss),
                float(share @ difference),
                standard_error(difference, groups, share),
                gap,
            )
        )
    best = chosen = simplest(losses, share, groups, z.shape[1])
    if not allow_label_changes:
        keeping = {name: loss for name, loss in losses.items() if REMEDIES[name].keeps_argmax}
        chosen = simplest(keeping, share, groups, z.shape[1])
    improving = {each.name for each in trials if each.improvement > MARGIN * each.standard_error}
    better = best if best in improving and best != chosen else None
    return RemedyChoice(
        chosen if chosen in improving else None,
        better,
        float(share @ served_loss),
        _classwise_gap(as_served, y, share),
        tuple(trials),
        len(y),
    )


def _reasons(labels: npt.NDArray[np.integer], classes: int, known: set[str]) -> dict[str, str]:
    """Return why remedies with biases do not apply: a class has too few labels for a bias."""
    fewest = int(np.bincount(labels, minlength=classes).min())
    if fewest >= MIN_PER_CLASS:
        return {}
    reason = f"the rarest class has {counted(fewest, 'label')}, and its bias needs {MIN_PER_CLASS}"
    return {
        each.name: reason
        for each in REMEDIES.values()
        if not each.keeps_argmax and each.name not in known
    }


def undetermined(fitted: Affine) -> str | None:
    """Return why a fit is refused, a bound of whose range or beyond is a temperature."""
    if all(weight > 0 and not at_bound(1 / weight) for weight in fitted.weight):
        return None
    return (
        f"its fit leaves the range of temperatures from {LOWEST} to {HIGHEST:g}: the labels do not "
        "determine it"
    )


def _validate(
    remedy: Remedy,
    z: FloatArray,
    y: npt.NDArray[np.integer],
    weights: npt.ArrayLike | None,
    share: FloatArray,
    folds: list[npt.NDArray[np.int64]],
) -> tuple[FloatArray, float]:
    """Return the held-out loss of each answer (N,) and the largest class-wise gap."""
    given = None if weights is None else np.asarray(weights, dtype=np.float64)

    def fit(rows: Rows) -> Affine:
        return remedy.fit(z[rows], y[rows], weights=None if given is None else given[rows])

    losses, gaps = np.zeros(len(y)), []
    for fold in folds:
        probabilities = cross_fit(fit, z, fold)
        losses += log_loss(probabilities, y) / len(folds)
        gaps.append(_classwise_gap(probabilities, y, share))
    return losses, float(np.mean(gaps))


def _classwise_gap(
    probabilities: FloatArray, labels: npt.NDArray[np.integer], share: FloatArray
) -> float:
    confidence, predicted = top_label(probabilities)
    classes = probabilities.shape[1]
    mass = np.bincount(predicted, share, minlength=classes)
    gap = np.bincount(predicted, share * (confidence - (predicted == labels)), minlength=classes)
    return float(np.abs(gap[mass > 0] / mass[mass > 0]).max())


def standard_error(
    difference: FloatArray, groups: npt.ArrayLike | None, share: FloatArray | None = None
) -> float:
    """Return that of the mean of differences (N,), weighted by `share` (N,), which sums to 1.

    A group (N,) is one observation.
    """
    share = np.full(len(difference), 1 / len(difference)) if share is None else share
    influence = share * (difference - share @ difference)
    _, units = np.unique(
        np.arange(len(share)) if groups is None else np.asarray(groups), return_inverse=True
    )
    return float(np.sqrt((np.bincount(units, influence) ** 2).sum()))


def fall(
    before: FloatArray, after: FloatArray, groups: npt.ArrayLike | None
) -> tuple[float, float]:
    """Return by how much the mean of losses (N,) falls, and the standard error of that."""
    difference = before - after
    return float(difference.mean()), standard_error(difference, groups)


def simplest(
    losses: Mapping[str, FloatArray],
    share: FloatArray,
    groups: npt.ArrayLike | None,
    classes: int,
) -> str | None:
    """Return the remedy with the fewest parameters that no richer one beats."""
    names = sorted(losses, key=lambda name: REMEDIES[name].parameters(classes))

    def beats(richer: str, simpler: str) -> bool:
        difference = losses[simpler] - losses[richer]
        more = REMEDIES[richer].parameters(classes) - REMEDIES[simpler].parameters(classes)
        margin = MARGIN * standard_error(difference, groups, share) + more / len(share)
        return float(share @ difference) > margin

    for place, name in enumerate(names):
        if not any(beats(richer, name) for richer in names[place + 1 :]):
            return name
    return None
