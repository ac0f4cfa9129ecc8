"""What a remedy does to each subgroup: the gap before and after, and whom it harms.

It is tried as the diagnosis tries remedies (`calibration.diagnosis.remedies`): both say the same.
"""

import json
from collections import defaultdict

import numpy as np

from calibration.calibrators.remedies import Remedy
from calibration.diagnosis.answers import Answers, Tag
from calibration.diagnosis.dependence import patient_correlation, patient_weights
from calibration.diagnosis.facts import AnswerGroup, GroupEffect
from calibration.diagnosis.groups import ALL, UNKNOWN
from calibration.diagnosis.outcome import patient_codes
from calibration.diagnosis.remedies import effects_of as effects_on
from calibration.diagnosis.remedies import trial
from calibration.diagnosis.stream import Stream
from monitoring.recalibration.answers import LabeledAnswers


def effects_of(
    changed: LabeledAnswers,
    remedy: Remedy,
    *,
    classes: tuple[str, ...],
    group: AnswerGroup | None = None,
) -> tuple[GroupEffect, ...]:
    """Return the effect on each tag value and predicted class, the largest growth of a gap first.

    Args:
        changed: the labeled answers that the remedy changes. Others stay as they are, and could
            hide or feign harm: errors of two groups that cancel each other are errors all the same.
        classes: their names.
        group: that they are; None: all.
    """
    answers = _as_answers(changed, classes)
    patient = patient_codes(answers)
    weight = patient_weights(patient, patient_correlation(Stream.of(answers), patient))
    if changed.weights is not None:
        weight = weight * changed.weights / changed.weights.mean()
    after, said = trial(answers, weight, remedy, smallest=changed.smallest)
    found = effects_on(answers, weight, after, said, group or AnswerGroup(ALL))
    return tuple(
        each for each in found if each.group.key != ALL and UNKNOWN not in each.group.values
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
