"""What publishing must say: a contradicted calibrator, and the price of balanced class weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.calibrators.remedies import standard_error
from calibration.measures.confusion import class_rates, confusion_matrix
from calibration.measures.metrics import log_loss
from calibration.wording import parameter, percent
from training.evaluation.calibrators import LIKELIHOOD_RATIO, Method, fit_cautiously
from training.evaluation.evaluation import Evaluation
from training.evaluation.predictions import Predictions

ONE_SIDED_95 = 1.645  # standard errors by which test has to be worse
MATERIAL = 0.05  # share of the NLL by which it has to be worse


@dataclass(frozen=True)
class Contradiction:
    """Test figures of a calibrator that makes them worse: before and after it.

    `nll_error` is the standard error of the rise of the NLL, in which a patient is one observation.
    """

    method: Method
    images: int
    nll_before: float
    nll_after: float
    nll_error: float
    ece_before: float
    ece_after: float

    def __str__(self) -> str:
        return (
            f"its own test images contradict the calibrator {self.method!r}: on {self.images} of "
            f"them it raises the NLL from {self.nll_before:.3f} to {self.nll_after:.3f} (standard "
            f"error {self.nll_error:.3f}) and takes the ECE from {percent(self.ece_before)} to "
            f"{percent(self.ece_after)}; {parameter('anyway', True)} publishes the model "
            "with it"
        )


def contradiction(evaluation: Evaluation, method: Method) -> Contradiction | None:
    """Whether the NLL of test is higher with the calibrator than without.

    It has to be so by a one-sided test at 5 %, by LIKELIHOOD_RATIO in all, since the first shows
    nothing where no answer is wrong, and by the share MATERIAL.
    """
    if method == "none":
        return None
    known = evaluation.predictions["test"]
    before, after = (evaluation.probabilities("test", each) for each in ("none", method))
    rise = log_loss(after, known.labels) - log_loss(before, known.labels)
    error = standard_error(rise, known.groups)
    nll_before = float(log_loss(before, known.labels).mean())
    units = len(rise) if known.groups is None else len(np.unique(known.groups))
    least = max(ONE_SIDED_95 * error, LIKELIHOOD_RATIO / units, MATERIAL * nll_before)
    if not rise.mean() > least:
        return None
    first, second = (evaluation.measures["test"][each] for each in ("none", method))
    return Contradiction(
        method,
        len(known.labels),
        nll_before,
        float(log_loss(after, known.labels).mean()),
        error,
        first.ece,
        second.ece,
    )


@dataclass(frozen=True)
class ValidationFigures:
    """Validation figures: accuracy, mean recall of the classes, and NLL."""

    accuracy: float
    mean_recall: float
    nll: float

    def __str__(self) -> str:
        return (
            f"accuracy {percent(self.accuracy)}, mean recall {percent(self.mean_recall)}, "
            f"NLL {self.nll:.3f}"
        )


def balanced_price(
    evaluation: Evaluation, counts: Sequence[int]
) -> tuple[ValidationFigures, ValidationFigures]:
    """Validation figures of a model with balanced class weights, and with its answers corrected to
    the frequencies of the data.

    Balanced weights estimate p(y | x) for equally frequent classes. Adding log(n_k / N) to logit k
    gives it for the frequencies in the data (Saerens, Latinne and Decaestecker 2002, eq. 2.4).

    `counts` (K,) are the training images of each class, all positive.
    """
    known = evaluation.predictions["val"]
    shares = np.log(np.asarray(counts, np.float64) / np.sum(counts))
    corrected = Predictions((known.logits + shares).astype(np.float32), known.labels, known.groups)
    return _figures(known), _figures(corrected)


def _figures(known: Predictions) -> ValidationFigures:
    p = fit_cautiously(known.logits, known.labels, known.groups)(known.logits)
    recall = class_rates(confusion_matrix(p, known.labels)).sensitivity
    loss = log_loss(p, known.labels)
    accuracy = float((p.argmax(axis=1) == known.labels).mean())
    return ValidationFigures(accuracy, float(np.nanmean(recall)), float(loss.mean()))
