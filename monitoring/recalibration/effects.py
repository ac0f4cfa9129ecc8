"""What a remedy does to each subgroup: the gap before and after, and whom it harms.

The diagnosis tries remedies by the same function: of the same labels, both say the same.
"""

import json
from collections import defaultdict

import numpy as np

from calibration.calibrators.remedies import Remedy
from calibration.diagnosis.answers import Answers, Tag
from calibration.diagnosis.dependence import patient_weights
from calibration.diagnosis.facts import AnswerGroup, GroupEffect
from calibration.diagnosis.groups import ALL, UNKNOWN
from calibration.diagnosis.outcome import patient_codes
from calibration.diagnosis.remedies import try_remedy, worst_first
from monitoring.recalibration.answers import LabeledAnswers


def effects_of(
    changed: LabeledAnswers,
    remedy: Remedy,
    *,
    classes: tuple[str, ...],
    correlation: float,
    group: AnswerGroup | None = None,
) -> tuple[GroupEffect, ...]:
    """Return the effect on each tag value and predicted class, the largest growth of a gap first.

    Args:
        changed: the labeled answers that the remedy changes. Others stay as they are, and could
            hide or feign harm: errors of two groups that cancel each other are errors all the same.
        classes: their names.
        correlation: of errors within a patient, as the diagnosis has it.
        group: that they are; None: all.
    """
    answers = _as_answers(changed, classes)
    weight = patient_weights(patient_codes(answers), correlation)
    if changed.weights is not None:
        weight = weight * changed.weights / changed.weights.mean()
    whom = group or AnswerGroup(ALL)
    found, _ = try_remedy(answers, weight, remedy, whom)
    return worst_first(
        each
        for each in found.values()
        if each.group.key != ALL and UNKNOWN not in each.group.values
    )


def _as_answers(changed: LabeledAnswers, classes: tuple[str, ...]) -> Answers:
    confidence, right = changed.claim.stated(changed.probabilities, changed.labels)
    of_one = bool(changed.claim.finding)
    predicted = np.ones(len(right), np.int64) if of_one else changed.probabilities.argmax(axis=1)
    return Answers(
        served_s=np.arange(len(right), dtype=np.float64),
        confidence=confidence,
        predicted=predicted,
        correct=right.astype(np.int64),
        classes=classes,
        tags=_tags(changed.tags),
        patient=changed.groups,
        probabilities=changed.probabilities,
        label=changed.labels,
        of_one=of_one,
    )


def _tags(texts: tuple[str | None, ...]) -> dict[str, Tag]:
    codes: dict[str, dict[str, int]] = defaultdict(dict)
    parsed = [json.loads(text) if text else {} for text in texts]
    for key, value in (pair for tags in parsed for pair in tags.items()):
        codes[key].setdefault(value, len(codes[key]))
    return {
        key: Tag(np.array([known.get(tags.get(key), -1) for tags in parsed]), tuple(known))
        for key, known in codes.items()
    }
