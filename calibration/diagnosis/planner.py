"""How many labels tell: until an error of a given size in a given group would be found."""

import math
from collections.abc import Iterable

import numpy as np

from calibration.bins import FloatArray
from calibration.diagnosis.answers import Answers, Tag
from calibration.diagnosis.dependence import patient_weights
from calibration.diagnosis.evidence import REACH, logit, sigmoid, tolerance
from calibration.diagnosis.facts import AnswerGroup, Deviation, Open, OpenGroup
from calibration.diagnosis.groups import ALL, PREDICTED, TAG, members, price_of_key, price_of_set
from calibration.diagnosis.outcome import patient_codes

RANDOM = "random"  # of answers drawn at random
PER_PATIENT = "random_patients"  # the same, one of each patient
APART = "in_one_group_alone"  # of answers of one of two groups that are not of the other
GAP, GAP_OF_ALL = 0.1, 0.05  # worth knowing
SMALLEST_GAP, LARGEST_GAP = 0.02, 0.5  # that can be asked for: smaller ones are tolerated
MOST = 12  # groups of a key, and questions that are named
_POWER = 1.28  # standard deviations: found in 9 of 10
_WINDOWS = 3.0  # nats for the beginning and the shape
_NEVER = 10_000_000
_MOST_CONFIDENCES, _MOST_SORTED = 256, 8_192
_STEPS = 30


def labels_needed(confidence: FloatArray, gap: float, *, price: float = 0.0) -> int:
    """Labels, of answers as confident as these, that show accuracy to be lower by `gap`.

    Log evidence grows by KL(q, b) a label: q the true probability of being right, b confidence
    less the tolerance. It must reach log 20, the price of the group and 3 nats for the beginning
    in nine of ten streams.

    Args:
        confidence: (n,) of some answers of the group, in [0, 1], at least one.
        gap: mean confidence minus accuracy, in (-1, 1); negative if accuracy is higher.
        price: nats to name the group.

    >>> labels_needed(np.full(100, 0.9), 0.1) < labels_needed(np.full(100, 0.9), 0.05)
    True
    """
    z = logit(_few(confidence))
    q, b = sigmoid(z + _shift_of(z, gap)), sigmoid(z - math.copysign(1, gap) * tolerance(z))
    won, lost = np.log(q / b), np.log((1 - q) / (1 - b))
    mean = float((q * won + (1 - q) * lost).mean())
    spread = math.sqrt(max(float((q * won**2 + (1 - q) * lost**2).mean()) - mean**2, 0.0))
    return labels_until(mean, spread, math.log(20) + price)


def labels_until(mean: float, spread: float, need: float) -> int:
    """Labels until log-evidence that grows by `mean` +- `spread` a label is at `need`, and 3 nats
    for the beginning, in nine of ten streams.
    """
    if mean <= 0:
        return _NEVER
    half, need = _POWER * spread, need + _WINDOWS
    root = (half + math.sqrt(half**2 + 4 * mean * need)) / (2 * mean)
    return min(math.ceil(root**2), _NEVER)


def _few(confidence: FloatArray) -> FloatArray:
    """Evenly many of these, by their order: enough for a mean."""
    if len(confidence) <= _MOST_CONFIDENCES:
        return confidence
    confidence = confidence[:: max(len(confidence) // _MOST_SORTED, 1)]
    places = np.linspace(0, len(confidence) - 1, _MOST_CONFIDENCES).astype(np.int64)
    return np.sort(confidence)[places]


def _shift_of(z: FloatArray, gap: float) -> float:
    """The shift of log-odds by which mean P(right) falls by `gap`, by bisection."""
    mean, low, high = float(sigmoid(z).mean()), -2 * REACH, 2 * REACH
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if mean - float(sigmoid(z + middle).mean()) < gap else (middle, high)
        )
    return (low + high) / 2


def find_questions(
    answers: Answers, *, correlation: float, most: int = MOST
) -> tuple[OpenGroup, ...]:
    """Groups in which an error could hide: of each key those with the fewest labels.

    Args:
        answers: labeled or not.
        correlation: of errors within a patient, in [0, 1].
        most: how many of a key.
    """
    worth = _worth(answers, correlation)
    found = [_question(answers, worth, AnswerGroup(ALL), 0.0)]
    keys = {TAG + key: tag for key, tag in answers.tags.items()}
    keys[PREDICTED] = Tag(answers.predicted, answers.classes)
    for name, tag in keys.items():
        price = price_of_key(len(keys) + 1) + price_of_set(1, max(len(tag.names), 1))
        for value in _least_labeled(answers, tag, most):
            found.append(_question(answers, worth, AnswerGroup(name, (value,)), price))
    return tuple(each for each in found if each is not None)


def open_questions(
    questions: Iterable[OpenGroup], *, gap: float | None = None, most: int = MOST
) -> tuple[Open, ...]:
    """Those that an error worth knowing could still hide in, those with the fewest labels first.

    Args:
        gap: what is worth knowing, in (0, 1); by default 0.05 of all answers, 0.1 of a group. Of a
            group that is less confident, half of its confidence.
        most: how many to name.
    """
    wanting = [found for each in questions if (found := _open(each, gap)) is not None]
    return tuple(sorted(wanting, key=lambda each: (each.group.key != ALL, -each.labels))[:most])


def telling_apart(answers: Answers, deviation: Deviation) -> tuple[Open, ...]:
    """For each group that may be meant instead, the labels that would tell; none where none would.

    They are labels of answers that are of one of the two groups alone.
    """
    mine, gap = members(deviation.group, answers), deviation.inside.gap.estimate
    found = []
    for other in deviation.others:
        one_alone = mine ^ members(other, answers)
        if one_alone.any() and gap:
            labels = labels_needed(answers.confidence[one_alone], gap)
            found.append(Open(other, abs(gap), labels, APART))
    return tuple(found)


def _least_labeled(answers: Answers, tag: Tag, most: int) -> list[str]:
    """Names of the values that were served and have the fewest labels."""
    present = tag.codes >= 0
    served = np.bincount(tag.codes[present], minlength=len(tag.names))
    labeled = np.bincount(tag.codes[present & (answers.correct >= 0)], minlength=len(tag.names))
    order = np.argsort(np.where(served > 0, labeled, len(answers) + 1), kind="stable")
    return [tag.names[value] for value in order[:most]]


def _worth(answers: Answers, correlation: float) -> FloatArray:
    """How many independent labels the label of each answer is worth, (N,); 0 without one."""
    labeled = answers.correct >= 0
    worth = labeled.astype(np.float64)
    if answers.patient is not None:
        worth[labeled] = patient_weights(patient_codes(answers)[labeled], correlation)
    return worth


def _question(
    answers: Answers, worth: FloatArray, group: AnswerGroup, price: float
) -> OpenGroup | None:
    """None of a group without answers."""
    inside = members(group, answers)
    if not inside.any():
        return None
    confidence = answers.confidence[inside]
    kind = RANDOM if answers.patient is None else PER_PATIENT
    mean, labels = float(confidence.mean()), float(worth[inside].sum())
    few = tuple(_few(confidence).tolist())
    return OpenGroup(group, few, mean, labels, price, kind)


def _open(question: OpenGroup, gap: float | None) -> Open | None:
    """How many more labels the group needs; None if it has them."""
    wanted = gap or (GAP_OF_ALL if question.group.key == ALL else GAP)
    gap = min(wanted, question.mean / 2)
    needed = labels_needed(np.array(question.confidence), gap, price=question.price)
    more = math.ceil(needed - question.worth)
    return Open(question.group, gap, more, question.kind) if more > 0 else None
