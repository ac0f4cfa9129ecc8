"""A proposal: which remedy the labels ask for, and what it does to answers that it was not fitted
on.

The remedies are compared by cross-validation on all labels. The chosen one is fitted on three
fifths of them; the other two fifths measure before and after, and carry the card's promises, which
would be too good on labels that the fit has seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import (
    CASE_MIX,
    MARGIN,
    REMEDIES,
    RemedyChoice,
    choose,
    title_of,
    undetermined,
)
from calibration.cross_fitting import FOLDS, fold_numbers, newest_if_changed
from calibration.diagnosis.facts import AnswerGroup, GroupEffect
from calibration.measures.confusion import case_mix_p_value, class_rates, confusion_matrix
from calibration.measures.summary import Measures
from calibration.wording import counted, parameter, percent, points
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from monitoring.diagnosis.vocabulary import terms
from monitoring.errors import RecalibrationRefused
from monitoring.recalibration.answers import LabeledAnswers
from monitoring.recalibration.claims import CLASSES, MeasuredClaim
from monitoring.recalibration.representative import UnevenLabels
from monitoring.recalibration.subgroup import name_of

_FIT_FOLDS = 3  # of five: three fifths of the labels fit, the others measure
FEWEST_LABELS = 20  # below it cross-validation says nothing
CASE_MIX_LEVEL = 0.05  # a smaller p-value says that more than the case mix has changed


@dataclass(frozen=True)
class ClassChange:
    """What a proposal does to one class, on the held-out labels. A figure without answers is NaN.

    Attributes:
        name: the class.
        labels: number of held-out answers whose true class it is.
        sensitivity_before, sensitivity_after: share of these answers that name the class.
        specificity_before, specificity_after: share of the other answers that name another class.
    """

    name: str
    labels: int
    sensitivity_before: float
    sensitivity_after: float
    specificity_before: float
    specificity_after: float


@dataclass(frozen=True)
class Proposal:
    """A remedy, fitted, and what it does on labels that it was not fitted on.

    Attributes:
        remedy: its name in `calibration.calibrators.remedies.REMEDIES`.
        choice: how the remedies compared.
        affine: the map of log-probabilities as served.
        labels: number of labels used, all of them truths; `fitted_on` of them fit, `held_out` of
            them measure. `aside`: labels left out: proxies, second readings, ignored ones.
        audited: whether they are the labels of a random audit.
        served, probabilities: of the held-out answers, (held_out, K), before and after the remedy.
        true_classes: of the held-out answers, (held_out,).
        tags: of the held-out answers, (held_out,), as in the ledger.
        before, after: measures of the held-out answers.
        changed: held-out answers whose predicted class changes.
        classes: one entry per class.
        effects: on each subgroup, the largest growth of a gap first.
        group: whom the remedy changes; None: everybody.
        claim: what is measured. Of a finding, a predicted class is whether it is present by its
            threshold.
    """

    remedy: str
    choice: RemedyChoice
    affine: Affine
    labels: int
    fitted_on: int
    held_out: int
    audited: bool
    served: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    true_classes: npt.NDArray[np.int64]
    tags: tuple[str | None, ...]
    before: Measures
    after: Measures
    changed: int
    classes: tuple[ClassChange, ...]
    aside: int = 0
    effects: tuple[GroupEffect, ...] = ()
    group: AnswerGroup | None = None
    claim: MeasuredClaim = CLASSES

    @property
    def harmed(self) -> list[GroupEffect]:
        """The subgroups that it makes worse beyond chance."""
        return [each for each in self.effects if each.harms]


def propose(
    answers: LabeledAnswers,
    card: Card,
    *,
    min_labels: int,
    uneven: UnevenLabels | None = None,
    allow_label_changes: bool = False,
    group: AnswerGroup | None = None,
    compared: Callable[[int, int], object] = lambda _done, _total: None,
) -> Proposal:
    """Choose and fit a remedy for the answers of `card`, all of them in `group` if there is one.

    Raises RecalibrationRefused for fewer than `min_labels` labels, for labels of one class, and for
    labels that look chosen (`uneven`) and are no audit. Raises it also if no allowed remedy
    improves by a standard error, or if the only one would make the error of a class larger.
    """
    _require(answers, card, min_labels, group)
    if uneven and answers.weights is None:
        raise RecalibrationRefused(_chosen_labels(uneven))
    choice = choose(
        answers.logits(),
        answers.labels,
        weights=answers.weights,
        groups=answers.groups,
        allow_label_changes=allow_label_changes or answers.claim.may_change,
        exclude=_exclusions(card.calibration, answers),
        compared=compared,
    )
    if choice.chosen is None:
        raise RecalibrationRefused(_no_remedy(choice, terms(answers.claim.finding).of_one))
    if choice.better and (worse := _worsened(choice)):
        raise RecalibrationRefused(worse)
    fit = _fit_part(answers)
    fitting, held_out = answers.part(fit), answers.part(~fit)
    affine = REMEDIES[choice.chosen].fit(fitting.logits(), fitting.labels, weights=fitting.weights)
    if why := undetermined(affine):
        raise RecalibrationRefused(
            f"{counted(len(fitting.labels), 'label')} determine no calibrator: {why}. Label more "
            "answers, and look whether labels and classes belong together."
        )
    after = affine(held_out.logits())
    measured = answers.claim.measured
    return Proposal(
        remedy=choice.chosen,
        choice=choice,
        affine=affine,
        labels=len(answers.labels),
        fitted_on=len(fitting.labels),
        held_out=len(held_out.labels),
        audited=answers.weights is not None,
        served=held_out.probabilities,
        probabilities=after,
        true_classes=held_out.labels,
        tags=held_out.tags,
        before=measured(held_out.probabilities, held_out.labels),
        after=measured(after, held_out.labels),
        changed=int((after.argmax(axis=1) != held_out.probabilities.argmax(axis=1)).sum()),
        classes=_class_changes(card.classes, held_out.probabilities, after, held_out.labels),
        aside=answers.aside,
        group=group,
        claim=answers.claim,
    )


def _require(
    answers: LabeledAnswers, card: Card, min_labels: int, group: AnswerGroup | None
) -> None:
    n, needed = len(answers.labels), max(min_labels, FEWEST_LABELS)
    if n < needed:
        fewest = ", the fewest on which a fit can be checked" if min_labels < FEWEST_LABELS else ""
        lower = (
            f", or lower the minimum ({parameter('min_labels')}) if you know why"
            if needed > FEWEST_LABELS
            else ""
        )
        of = "" if group is None else f" with {name_of(group)}"
        raise RecalibrationRefused(
            f"Got {counted(n, 'labeled answer')} of {card.name} version {card.version}{of}; "
            f"expected at least {needed:,}{fewest}.{_left_out(answers.aside)} Label more answers"
            f"{lower}."
        )
    rarest = int(np.bincount(answers.labels, minlength=2).min())
    if rarest < answers.claim.fewest:
        raise RecalibrationRefused(
            f"{counted(n, 'label')} of {card.finding} hold {rarest} of the rarer answer; expected "
            f"at least {answers.claim.fewest} with it and without. Label more images."
        )
    if len(np.unique(answers.labels)) < 2:
        name = card.classes[int(answers.labels[0])]
        raise RecalibrationRefused(
            f"All {counted(n, 'label')} say {name!r}. A calibrator needs labels of at least two "
            "classes: label answers whatever their class."
        )


def _left_out(aside: int) -> str:
    """Say that labels were not used, after a sentence; empty if there are none."""
    what = "proxies, second readings or ignored"
    return f" {counted(aside, 'label')} that are no truths ({what}) were not used." if aside else ""


def _chosen_labels(uneven: UnevenLabels) -> str:
    return (
        f"The labels look chosen: {percent(uneven.most_share)} of the answers {uneven.most} have a "
        f"label, but {percent(uneven.least_share)} of the answers {uneven.least}. A fit on chosen "
        "labels can be wrong for all other answers. Label a random sample (set "
        f"CANDOR_AUDIT_SHARE), or accept chosen labels ({parameter('chosen_labels', True)})."
    )


def _no_remedy(choice: RemedyChoice, of_one: bool) -> str:
    considered = [trial for trial in choice.trials if trial.excluded is None]
    best = max(considered, key=lambda trial: trial.improvement, default=None)
    if choice.better is not None:
        return _clinical(choice.better)
    if best is None:
        return "No remedy could be fitted to these labels: " + "; ".join(
            f"{title_of(trial.name, of_one=of_one)}: {trial.excluded}" for trial in choice.trials
        )
    why = "No remedy improves on the model as served by more than a standard error."
    if best.improvement > MARGIN * best.standard_error:
        why = (
            "Only a richer remedy improves on the model as served by more than a standard error, "
            "and by too little for the numbers that it fits."
        )
    return (
        f"{why} The best, {title_of(best.name, of_one=of_one)}, changes the negative "
        f"log-likelihood of held-out answers by {-best.improvement:+.4f} nats (standard error "
        f"{best.standard_error:.4f}; less is better). Collect more labels, or leave the model "
        "as it is."
    )


def _worsened(choice: RemedyChoice) -> str | None:
    """Return why the chosen remedy harms: one class needs the opposite of the others."""
    gap = next(trial.classwise_gap for trial in choice.trials if trial.name == choice.chosen)
    if choice.better is None or gap <= choice.served_classwise_gap:
        return None
    return (
        "A temperature alone would raise the largest error of a class from "
        f"{points(choice.served_classwise_gap)} to {points(gap)}: some classes are overconfident "
        f"and others underconfident. {_clinical(choice.better)}"
    )


def _clinical(remedy: str) -> str:
    title = REMEDIES[remedy].title
    return (
        f"{title[:1].upper()}{title[1:]} improves on the model as served, but may change the "
        "predicted class of some answers. That is a clinical decision: a preview with "
        f"{parameter('allow_label_changes', True)} shows it."
    )


def _fit_part(answers: LabeledAnswers) -> npt.NDArray[np.bool_]:
    """Return the (N,) answers to fit on: classes divided alike, patients kept whole; the older
    where the newest err otherwise, so that what is promised is what comes.
    """
    count = len(answers.labels) if answers.groups is None else len(np.unique(answers.groups))
    if count < 2 * FOLDS:
        raise RecalibrationRefused(
            f"The labels come from {counted(count, 'patient')}; expected at least {2 * FOLDS}. "
            "Label answers of more patients."
        )
    confidence, right = answers.claim.stated(answers.probabilities, answers.labels)
    weights = np.ones(len(right)) if answers.weights is None else answers.weights
    newest = newest_if_changed(confidence - right, weights)
    if newest.any():
        groups = np.arange(count) if answers.groups is None else answers.groups
        return ~np.isin(groups, groups[newest])
    return fold_numbers(answers.labels, answers.groups, seed=0) < _FIT_FOLDS


def _exclusions(calibration: CalibrationCard, answers: LabeledAnswers) -> dict[str, str]:
    """Return which remedies do not apply to this card, and why."""
    excluded = dict(answers.claim.unfit)
    if CASE_MIX.name in excluded:
        return excluded
    if calibration.confusion is None:
        excluded[CASE_MIX.name] = (
            "the card has no confusion matrix, which would tell whether only the case mix changed"
        )
        return excluded
    p = case_mix_p_value(
        calibration.confusion, confusion_matrix(answers.probabilities, answers.labels)
    )
    if p < CASE_MIX_LEVEL:
        excluded[CASE_MIX.name] = (
            "more than the case mix has changed: the answers to a class differ from the card's (p "
            f"= {p:.1g})"
        )
    return excluded


def _class_changes(
    names: tuple[str, ...],
    before: npt.NDArray[np.float64],
    after: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
) -> tuple[ClassChange, ...]:
    rates = [
        class_rates(confusion_matrix(probabilities, labels)) for probabilities in (before, after)
    ]
    return tuple(
        ClassChange(
            name,
            int((labels == place).sum()),
            *(float(each.sensitivity[place]) for each in rates),
            *(float(each.specificity[place]) for each in rates),
        )
        for place, name in enumerate(names)
    )
