"""What a card says about calibration: the calibrator, its reference and its promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.bins import BinSums
from calibration.calibrators.temperature import apply_temperature
from calibration.findings.calibrator import sigmoid
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Referral
from model_store.bundle.card import InputReference, initializers_of
from model_store.bundle.finding_card import FindingCard
from model_store.bundle.graph import with_calibrator

FEW_IMAGES: Final = 100  # held out; with fewer the card says little
_RELIES_ON_LABELS: Final = (
    "Import it again with --data, or serve it, send labels, and run `candor recalibrate`."
)


@dataclass(frozen=True)
class CardFigures:
    """The parts of a card from labeled images, and notes; `findings` None: exclusive classes."""

    calibration: CalibrationCard
    findings: tuple[FindingCard, ...] | None = None
    referral: Referral | None = None
    conformal: ConformalCard | None = None
    input_reference: InputReference | None = None
    notes: tuple[str, ...] = ()

    @property
    def thresholds(self) -> list[float]:
        """Of each finding; none of exclusive classes."""
        return [each.threshold for each in self.findings or ()]

    @property
    def calibrated(self) -> bool:
        """Whether the calibrator changes anything."""
        answers = self.findings or (self,)
        cards = [each.calibration for each in answers]
        return any(each.temperature != 1 or each.class_bias is not None for each in cards)

    def applied(self, graph: bytes) -> bytes:
        """Return the bundle's graph with this calibrator in place of none."""
        if not self.calibrated:
            return graph
        numbers = initializers_of(self.calibration, self.findings)
        return with_calibrator(graph, **numbers._asdict())

    def probabilities(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the calibrated probabilities (N, K) of logits (N, K)."""
        if self.findings is None:
            return apply_temperature(logits, self.calibration.temperature)
        numbers = initializers_of(self.calibration, self.findings)
        return sigmoid(logits / np.array(numbers.temperature) + np.array(numbers.class_bias))


def uncalibrated(findings: Sequence[str] | None = None) -> CardFigures:
    """Return what is known without labeled images: nothing, which the card says.

    `findings`: their names, None for exclusive classes.
    """
    nothing = BinSums.zeros()
    card = CalibrationCard.from_reference(
        method="none",
        temperature=1.0,
        split="none",
        sums=nothing,
        measures=Measures.from_sums(nothing),
    )
    if findings is None:
        note = (
            "This model is not calibrated: no labeled images were given, so nothing is known about "
            f"its confidence. {_RELIES_ON_LABELS}"
        )
        return CardFigures(card, notes=(note,))
    cards = tuple(
        FindingCard(name=name, threshold=0.5, labeled=0, positives=0, calibration=card)
        for name in findings
    )
    note = (
        "No finding is calibrated: no labeled images were given, so nothing is known about its "
        f"probabilities, and each counts as present from 0.5 on. {_RELIES_ON_LABELS}"
    )
    return CardFigures(card, cards, notes=(note,))
