"""What a remedy does to each subgroup: the gap before and after, and whom it harms.

The remedy is fitted and applied by cross-validation, patients kept whole, so that no label measures
a fit that has seen it. `calibration.diagnosis.remedies` says who is harmed. The error of a gap is
the larger of what calibrated answers would have and what is seen between patients.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import Remedy, standard_error
from calibration.cross_fitting import Rows, cross_fit, fold_numbers
from calibration.diagnosis.facts import AnswerGroup, GroupEffect
from calibration.diagnosis.remedies import effect
from monitoring.drift.tag_settings import slice_of
from monitoring.recalibration.answers import LabeledAnswers
from monitoring.recalibration.subgroup import PREDICTED, belongs

FEWEST = 20  # labels with a tag value that is not watched

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Gap:
    """Weighted residuals of answers (N,), confidence minus correctness, and their variance."""

    residuals: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]

    @classmethod
    def of(cls, probabilities: npt.NDArray[np.float64], answers: LabeledAnswers) -> "_Gap":
        confidence, right = answers.claim.stated(probabilities, answers.labels)
        return cls(confidence - right, confidence * (1 - confidence))


def effects_of(
    everyone: LabeledAnswers,
    remedy: Remedy,
    *,
    classes: tuple[str, ...],
    watched: Collection[str] = (),
    group: AnswerGroup | None = None,
) -> tuple[GroupEffect, ...]:
    """Return the effect on each group, the largest growth of a gap first.

    Args:
        everyone: labeled answers, of which `remedy` is fitted on those in `group` (None: on all).
        classes: their names.
        watched: keys of tags; of these, values with fewer than 20 labels count too.
    """
    before = _Gap.of(everyone.probabilities, everyone)
    after = _Gap.of(_cross_fitted(everyone, remedy, group), everyone)
    groups = list(_groups(everyone, classes, watched))
    found = [_effect(everyone, *each, before, after, len(groups)) for each in groups]
    return tuple(sorted(found, key=lambda each: abs(each.before) - abs(each.after)))


def _cross_fitted(
    everyone: LabeledAnswers, remedy: Remedy, group: AnswerGroup | None
) -> npt.NDArray[np.float64]:
    """Return probabilities (N, K) after the remedy, each fitted on the other folds."""
    inside = np.array([group is None or belongs(each, group) for each in everyone.tags])
    fitted_on = everyone.part(inside)

    def fit(rows: Rows) -> Affine:
        part = fitted_on.part(rows)
        return remedy.fit(part.logits(), part.labels, weights=part.weights)

    folds = fold_numbers(fitted_on.labels, fitted_on.groups, seed=0)
    probabilities = everyone.probabilities.copy()
    probabilities[inside] = cross_fit(fit, fitted_on.logits(), folds)
    return probabilities


def _groups(
    everyone: LabeledAnswers, classes: tuple[str, ...], watched: Collection[str]
) -> Iterator[tuple[AnswerGroup, Mask]]:
    """Yield watched tag values, others with enough labels, and predicted classes as served."""
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, tags in enumerate(everyone.tags):
        for pair in json.loads(tags).items() if tags else ():
            places[pair].append(place)
    for (key, value), found in sorted(places.items()):
        if key in watched or len(found) >= FEWEST:
            mask = np.zeros(len(everyone.tags), dtype=bool)
            mask[found] = True
            yield AnswerGroup(slice_of(key), (value,)), mask
    predicted = everyone.claim.predicted(everyone.probabilities)
    for number, name in enumerate(classes):
        if (predicted == number).any():
            yield AnswerGroup(PREDICTED, (name,)), predicted == number


def _effect(
    everyone: LabeledAnswers, group: AnswerGroup, mask: Mask, before: _Gap, after: _Gap, looks: int
) -> GroupEffect:
    weights = np.ones(len(mask)) if everyone.weights is None else everyone.weights
    share = weights[mask] / weights[mask].sum()
    served, now = (float(share @ each.residuals[mask]) for each in (before, after))
    units = None if everyone.groups is None else everyone.groups[mask]
    seen = standard_error(after.residuals[mask], share, units)
    error = max(seen, float(np.sqrt(share**2 @ after.variance[mask])))
    return effect(group, int(mask.sum()), served, now, error=error, looks=looks)
