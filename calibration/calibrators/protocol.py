"""Calibrators turn a network's logits into probabilities. They are fitted on validation.

Each is one class in its own file and one line in `CALIBRATORS`. A calibrator that needs more than
NumPy is in the room that has the library (isotonic regression: `training.evaluation.calibrators`),
which adds it to these.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.affine import Vector
from calibration.calibrators.histogram import Histogram
from calibration.calibrators.temperature import Temperature, softmax


class Calibrator(Protocol):
    """A fitted map from logits to probabilities.

    Attributes:
        name: its key in a registry.
        keeps_argmax: whether it never changes the predicted class. If it may, compare it by
            accuracy too.
    """

    name: ClassVar[str]
    keeps_argmax: ClassVar[bool]

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Fit on logits (N, K) and labels (N,) in 0..K-1. Raises ValueError if that fails."""
        ...

    def __call__(self, logits: npt.ArrayLike) -> FloatArray:
        """Return probabilities (N, K) in float64, each row summing to 1."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with the name under `name`."""
        ...


@dataclass(frozen=True)
class Uncalibrated:
    """The softmax of the unchanged logits.

    >>> Uncalibrated.fit([[0.0, 0.0]], [1])([[0.0, 0.0]])
    array([[0.5, 0.5]])
    """

    name: ClassVar[str] = "none"
    keeps_argmax: ClassVar[bool] = True

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Return a calibrator; there is nothing to fit."""
        return cls()

    def __call__(self, logits: npt.ArrayLike) -> FloatArray:
        return softmax(logits)

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name}


CALIBRATORS: dict[str, type[Calibrator]] = {
    Uncalibrated.name: Uncalibrated,
    Temperature.name: Temperature,
    Vector.name: Vector,
    Histogram.name: Histogram,
}
