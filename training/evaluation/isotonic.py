"""Isotonic regression as a calibrator: the best monotone map of each class's probability (Zadrozny
and Elkan 2002).

scikit-learn fits it; with several classes, each is fitted against the rest
(`calibration.one_vs_rest`). It may change the predicted class. It can return 0 or 1, so a single
surprise costs hundreds of nats; compare it by Brier score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.isotonic import IsotonicRegression

from calibration.calibrators.one_vs_rest import apply_each, fit_each
from calibration.calibrators.protocol import CALIBRATORS, Calibrator


@dataclass(frozen=True)
class MonotoneMap:
    """A monotone, piecewise linear function through (x, y), constant beyond its ends."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    @classmethod
    def fit(cls, p: NDArray[np.float64], truth: NDArray[np.bool_]) -> Self:
        """Fit to probabilities (N,) and truths (N,).

        >>> MonotoneMap.fit(np.array([0.1, 0.2, 0.3]), np.array([False, True, False])).y
        (0.0, 0.5, 0.5)
        """
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
            p, truth.astype(np.float64)
        )
        return cls(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))

    def __call__(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.interp(p, self.x, self.y))


@dataclass(frozen=True)
class Isotonic:
    """Isotonic regression of each class."""

    name: ClassVar[str] = "isotonic"
    keeps_argmax: ClassVar[bool] = False
    classes: tuple[MonotoneMap, ...]

    @classmethod
    def fit(cls, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Fit on logits (N, K) and labels (N,). Raises ValueError as
        `calibration.one_vs_rest.fit_each`.
        """
        return cls(fit_each(MonotoneMap.fit, logits, labels))

    def __call__(self, logits: ArrayLike) -> NDArray[np.float64]:
        return apply_each(self.classes, logits)

    def as_dict(self) -> dict[str, Any]:
        """Name and the corners of each class's function."""
        return {
            "name": self.name,
            "classes": [{"x": [*each.x], "y": [*each.y]} for each in self.classes],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `as_dict`."""
        return cls(tuple(MonotoneMap(tuple(row["x"]), tuple(row["y"])) for row in data["classes"]))


ALL_CALIBRATORS: dict[str, type[Calibrator]] = {**CALIBRATORS, Isotonic.name: Isotonic}
