"""The promises of a card, fitted again on held-out answers: probabilities (N, K), labels (N,)."""

import numpy as np
import numpy.typing as npt

from calibration.conformal import conformal
from calibration.measures.metrics import top_label
from calibration.threshold import referral_threshold
from model_store.bundle.calibration_card import ConformalCard, Referral


def referral_for(
    old: Referral | None, probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> Referral | None:
    """Return the threshold that keeps the old promise on these answers, if there is one."""
    if old is None or not len(labels):
        return None
    confidence, predicted = top_label(probabilities)
    found = referral_threshold(
        confidence, predicted == labels, promised_accuracy=old.promised_accuracy, delta=old.delta
    )
    return Referral.from_threshold(found)


def sets_for(
    old: ConformalCard | None, probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> ConformalCard | None:
    """Return the sets that keep the old promise on these answers, or contain every class."""
    if old is None or not len(labels):
        return None
    return ConformalCard.from_sets(conformal(probabilities, labels, alpha=old.alpha))


def referred_share(
    promise: Referral | None, probabilities: npt.NDArray[np.float64], *, without: float
) -> float:
    """Return the share of answers that a threshold refers, or the share `without` one."""
    if promise is None:
        return without
    return float((top_label(probabilities)[0] < promise.threshold).mean())
