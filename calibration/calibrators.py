"""Calibrators: what turns a trained network's logits into probabilities, fitted after training on validation alone.

Each is one class in a file of its own and one line in `CALIBRATORS`. One that needs more than NumPy lives in the room
that has it (isotonic regression: `training.evaluation.isotonic`) and is put beside these in a dictionary there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.histogram import Histogram
from calibration.temperature import Temperature, softmax
from calibration.vector import Vector


class Calibrator(Protocol):
    """A fitted map from logits to probabilities.

    Attributes:
        name: its key in a registry.
        keeps_argmax: whether it never changes the predicted class. One that may is compared by accuracy as well.
    """

    name: ClassVar[str]
    keeps_argmax: ClassVar[bool]

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Fit on logits (N, K) and labels (N,) in 0..K-1. Raises ValueError for what cannot be fitted."""
        ...

    def __call__(self, logits: npt.ArrayLike) -> FloatArray:
        """Return probabilities (N, K) in float64, each row summing to 1."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with the name under `name`."""
        ...

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `as_dict`."""
        ...


@dataclass(frozen=True)
class Uncalibrated:
    """The softmax of the logits as they are.

    >>> Uncalibrated.fit([[0.0, 0.0]], [1])([[0.0, 0.0]])
    array([[0.5, 0.5]])
    """

    name: ClassVar[str] = "none"
    keeps_argmax: ClassVar[bool] = True

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Learn nothing."""
        return cls()

    def __call__(self, logits: npt.ArrayLike) -> FloatArray:
        return softmax(logits)

    def as_dict(self) -> dict[str, Any]:
        """Its name is all it has."""
        return {"name": self.name}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `as_dict`."""
        return cls()


CALIBRATORS: dict[str, type[Calibrator]] = {
    Uncalibrated.name: Uncalibrated,
    Temperature.name: Temperature,
    Vector.name: Vector,
    Histogram.name: Histogram,
}


def calibrator_from_dict(data: Mapping[str, Any], registry: Mapping[str, type[Calibrator]] = CALIBRATORS) -> Calibrator:
    """Rebuild any calibrator of `registry` from its `as_dict`.

    Raises:
        ValueError: the name is not in the registry.

    >>> calibrator_from_dict({"name": "temperature", "temperature": 2.0})
    Temperature(temperature=2.0)
    """
    kind = registry.get(data["name"])
    if kind is None:
        raise ValueError(f"no calibrator is called {data['name']!r}; known are {', '.join(registry)}")
    return kind.from_dict(data)
