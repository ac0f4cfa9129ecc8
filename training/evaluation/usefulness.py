"""Whether a model is of any use: it must beat the best constant answer, and give every answer that
it is known to be needed for. One that beats the constant answer in accuracy, NLL or mean recall is
published with its shortcomings; one that does not is refused.

Calibration alone does not show this. A model that always says the largest class, with the frequency
of that class as its confidence, is perfectly calibrated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.calibrators.constant_answer import beats_constant_answer, frequencies_gain
from calibration.measures.confusion import KNOWN_IMAGES, recalls
from calibration.measures.reliability import wilson_interval
from calibration.wording import percent
from training.evaluation.calibrators import Method
from training.evaluation.evaluation import Evaluation
from training.evaluation.predictions import EVALUATED, EvaluatedSplit

NORMAL_95 = 1.96  # standard errors on either side of a 95 % interval


@dataclass(frozen=True)
class ConstantAnswer:
    """The best constant answer on a split: class `label`, right for the share `accuracy` of its
    `images`.

    `lead` is the model's accuracy minus that, `lead_lower` and `lead_upper` its 95 % interval: that
    of a difference of paired proportions with half an image more in each of the four cells (Agresti
    and Min 2005).
    """

    label: int
    images: int
    accuracy: float
    lead: float
    lead_lower: float
    lead_upper: float


def constant_answer(
    evaluation: Evaluation, split: EvaluatedSplit, method: Method
) -> ConstantAnswer:
    """Compare the answers on `split` with the best constant answer there."""
    labels = evaluation.predictions[split].labels
    label = int(np.bincount(labels).argmax())
    _, correct = evaluation.answers(split, method)
    constant = labels == label
    leads = correct.astype(float) - constant
    # Four halves: in one of them only the model is right, in one only the constant answer.
    images = len(leads) + 2
    center, square = float(leads.sum()) / images, (float((leads**2).sum()) + 1) / images
    margin = NORMAL_95 * ((square - center**2) / images) ** 0.5
    accuracy, lead = float(constant.mean()), float(leads.mean())
    return ConstantAnswer(label, len(leads), accuracy, lead, center - margin, center + margin)


def shortcomings(
    evaluation: Evaluation, classes: Sequence[str], *, method: Method, balanced: bool
) -> list[str]:
    """Sentences that say where the model fails, none if it does not.

    The yardstick is accuracy on test; for a model whose training was `balanced`, which trades
    accuracy for it, the mean recall. A class counts as never answered if neither validation nor
    test has such an answer, and they have images enough to tell: a class with few is unknown.
    """
    found = [_no_better(evaluation, classes, method=method, balanced=balanced)]
    found += _never_answered(evaluation, classes, method=method)
    return [each for each in found if each is not None]


def beats_constant(evaluation: Evaluation, method: Method) -> bool:
    """Whether test shows more accuracy than a constant answer, or at the 5 % level a lower NLL or a
    higher mean recall. If validation shows these, a lower NLL on test need not be significant: with
    folds, validation has several times the images of test.
    """
    if constant_answer(evaluation, "test", method).lead > 0:
        return True
    test = evaluation.predictions["test"]
    probabilities = evaluation.probabilities("test", method)
    if beats_constant_answer(probabilities, test.labels, test.groups):
        return True
    val = evaluation.predictions["val"]
    shown = beats_constant_answer(evaluation.probabilities("val", method), val.labels, val.groups)
    return shown and float(frequencies_gain(probabilities, test.labels).mean()) > 0


def _no_better(
    evaluation: Evaluation, classes: Sequence[str], *, method: Method, balanced: bool
) -> str | None:
    constant = constant_answer(evaluation, "test", method)
    count = constant.images
    always = f"always answering {classes[constant.label]!r}"
    if balanced:
        known = [each for each in recalls(evaluation.confusion("test", method)) if each is not None]
        if not known or float(np.mean(known)) > 1 / len(known):
            return None
        return (
            f"its mean recall by class is {percent(float(np.mean(known)))} on the {count} test "
            f"images, no better than {always} ({percent(1 / len(known))})"
        )
    if constant.lead > 0:
        return None
    return (
        f"it is right on {percent(constant.accuracy + constant.lead)} of the {count} test images, "
        f"no better than {always} ({percent(constant.accuracy)})"
    )


def _never_answered(evaluation: Evaluation, classes: Sequence[str], *, method: Method) -> list[str]:
    confusion = np.sum([evaluation.confusion(split, method) for split in EVALUATED], axis=0)
    answers, images = confusion.sum(axis=0), confusion.sum(axis=1)
    return [
        f"it never answers {name!r} on the {confusion.sum()} validation and test images, of which "
        f"{images[label]} are of that class; answers drawn by the frequency of classes would find "
        "more of them"
        for label, name in enumerate(classes)
        if answers[label] == 0 and _is_evident(int(images[label]), int(confusion.sum()))
    ]


def _is_evident(images: int, total: int) -> bool:
    """Whether no answer in so many images of a class of `total` shows that its recall is lower than
    that of answers drawn by frequency, which is the share of the class.

    >>> _is_evident(4, 10), _is_evident(10, 100), _is_evident(30, 100)
    (False, False, True)
    """
    return images >= KNOWN_IMAGES and wilson_interval(0.0, images).upper < images / total
