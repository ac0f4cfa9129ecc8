"""What a card says about calibration: the calibrator, its reference and its promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.bins import BinSums
from calibration.calibrators.temperature import apply_temperature
from calibration.findings.calibrator import FindingCalibrator
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Referral
from model_store.bundle.card import InputReference
from model_store.bundle.finding_card import FindingCard
from model_store.bundle.graph import with_calibrator, with_findings_calibrator

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
    def calibrated(self) -> bool:
        """Whether the calibrator changes anything."""
        cards = [each.calibration for each in self.findings or ()] or [self.calibration]
        return any(each.temperature != 1 or each.class_bias is not None for each in cards)

    def applied(self, graph: bytes) -> bytes:
        """Return the bundle's graph with this calibrator in place of none."""
        if not self.calibrated:
            return graph
        if self.findings is None:
            return with_calibrator(graph, temperature=self.calibration.temperature)
        temperatures, biases = self._by_finding
        return with_findings_calibrator(graph, temperatures=temperatures, biases=biases)

    def probabilities(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the calibrated probabilities (N, K) of logits (N, K)."""
        if self.findings is None:
            return apply_temperature(logits, self.calibration.temperature)
        columns = [
            FindingCalibrator(temperature, bias, fitted=True)(column)
            for column, temperature, bias in zip(logits.T, *self._by_finding, strict=True)
        ]
        return np.stack(columns, axis=1)

    @property
    def _by_finding(self) -> tuple[list[float], list[float]]:
        cards = [each.calibration for each in self.findings or ()]
        return [each.temperature for each in cards], [
            (each.class_bias or (0.0, 0.0))[1] for each in cards
        ]


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
