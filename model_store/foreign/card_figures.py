"""What a card says about calibration: the calibrator, its reference and its promises."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from calibration.wording import parameter
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Referral
from model_store.bundle.card import Initializers, InputReference, initializers_of
from model_store.bundle.finding_card import FindingCard
from model_store.bundle.graph import with_calibrator

FEW_IMAGES: Final = 100  # held out; with fewer the card says little


@dataclass(frozen=True)
class CardFigures:
    """The parts of a card from labeled images, and notes; without `findings`, of classes."""

    calibration: CalibrationCard
    findings: tuple[FindingCard, ...] | None = None
    referral: Referral | None = None
    conformal: ConformalCard | None = None
    input_reference: InputReference | None = None
    notes: tuple[str, ...] = ()

    @property
    def initializers(self) -> Initializers:
        """The numbers of the calibrators in the graph."""
        return initializers_of(self.calibration, self.findings)

    @property
    def calibrated(self) -> bool:
        """Whether the calibrator changes anything."""
        numbers = self.initializers
        return any(each != 1 for each in numbers.temperature) or any(numbers.class_bias or ())

    def applied(self, graph: bytes) -> bytes:
        """Return the bundle's graph with this calibrator in place of none."""
        if not self.calibrated:
            return graph
        return with_calibrator(graph, **self.initializers._asdict())

    def scaled(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the calibrated logits (N, K) of logits (N, K)."""
        numbers = self.initializers
        return np.asarray(logits / np.array(numbers.temperature) + (numbers.class_bias or 0.0))


def _of_classes(_names: tuple[str, ...]) -> CardFigures:
    note = (
        "This model is not calibrated: no labeled images were given, so nothing is known about "
        f"its confidence. {_calibrated_by()}"
    )
    return CardFigures(_nothing(), notes=(note,))


def _of_findings(names: tuple[str, ...]) -> CardFigures:
    card = _nothing()
    cards = tuple(
        FindingCard(name=name, threshold=0.5, labeled=0, positives=0, calibration=card)
        for name in names
    )
    note = (
        "No finding is calibrated: no labeled images were given, so nothing is known about its "
        f"probabilities, and each counts as present from 0.5 on. {_calibrated_by()}"
    )
    return CardFigures(card, cards, notes=(note,))


def _calibrated_by() -> str:
    again = parameter("data")
    return f"Import it again with {again}, or serve it, send labels, and run `candor recalibrate`."


def _nothing() -> CalibrationCard:
    nothing = BinSums.zeros()
    return CalibrationCard.from_reference(
        method="none",
        temperature=1.0,
        split="none",
        sums=nothing,
        measures=Measures.from_sums(nothing),
    )


# By what scores are: what is known without labeled images, which is nothing, as the card says.
UNLABELED: Final = {"exclusive": _of_classes, "findings": _of_findings}
