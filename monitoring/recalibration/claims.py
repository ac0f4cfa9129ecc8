"""What a recalibration is about: the claim that a class is right, or that a finding is present.

They differ in what is measured, and in which remedies fit; a card says which of the two it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from calibration.calibrators.remedies import CASE_MIX, VECTOR
from calibration.findings.calibrator import FEWEST_POSITIVES
from calibration.measures.summary import Measures
from model_store.bundle.card import Card
from monitoring.errors import FindingNeeded
from monitoring.ledger.versions import require_known

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_ONE = "a finding has a temperature and a bias"


def of_classes(probabilities: FloatArray, labels: IntArray) -> tuple[FloatArray, npt.NDArray[Any]]:
    """Return confidence (N,) and whether the predicted class is right (N,)."""
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def of_presence(probabilities: FloatArray, labels: IntArray) -> tuple[FloatArray, npt.NDArray[Any]]:
    """Return the probability that the finding is present (N,) and whether it is (N,)."""
    return probabilities[:, 1], labels == 1


@dataclass(frozen=True)
class MeasuredClaim:
    """What is measured.

    Attributes:
        finding: what it is about; '' for exclusive classes.
        stated: the claim's probability (N,) and whether it holds (N,), of probabilities (N, K).
        measured: its measures.
        predicted: the class of each answer (N,) that claims apart; -1: all claim the same.
        may_change: whether any remedy may change what is answered.
        fewest: labels of each answer that a fit needs.
        unfit: remedies that never apply, and why.
    """

    finding: str = ""
    stated: Callable[[FloatArray, IntArray], tuple[FloatArray, npt.NDArray[Any]]] = of_classes
    measured: Callable[[FloatArray, IntArray], Measures] = Measures.from_probabilities
    predicted: Callable[[FloatArray], IntArray] = lambda p: p.argmax(axis=1)
    may_change: bool = False
    fewest: int = 0
    unfit: Mapping[str, str] = field(default_factory=dict)


CLASSES: Final = MeasuredClaim(
    unfit={VECTOR.name: "one weight per class fits what few labels of a class show by chance"}
)


def claim_of(question: Card) -> MeasuredClaim:
    if question.finding is None:
        return CLASSES
    return MeasuredClaim(
        question.finding,
        of_presence,
        Measures.of_presence,
        predicted=lambda p: np.full(len(p), -1),
        may_change=True,
        fewest=FEWEST_POSITIVES,
        unfit={VECTOR.name: _ONE, CASE_MIX.name: _ONE},
    )


def question_of(card: Card, finding: str | None) -> Card:
    """Return the card that a recalibration is about: of a finding, or of exclusive classes.

    Raises FindingNeeded and FindingUnknown.
    """
    if card.has_findings:
        if not finding:
            raise FindingNeeded(card.name, card.classes)
        return card.of_finding(require_known(finding, card.classes))
    require_known(finding, ())
    return card
