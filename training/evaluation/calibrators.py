"""Isotonic regression and a cautious temperature, beside the calibrators of `calibration`.

Isotonic regression is the best monotone map of each class's probability (Zadrozny and Elkan 2002);
with several classes, each is fitted against the rest. It may change the predicted class. It can
return 0 or 1, so a single surprise costs hundreds of nats; compare it by Brier score.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from calibration.calibrators.one_vs_rest import apply_each, fit_each
from calibration.calibrators.protocol import CALIBRATORS, Calibrator
from calibration.calibrators.remedies import standard_error
from calibration.calibrators.temperature import (
    Temperature,
    apply_temperature,
    softmax,
)
from calibration.measures.metrics import log_loss

LIKELIHOOD_RATIO = 1.92  # half the 95 % quantile of chi-squared with one degree of freedom


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
        x, place, count = np.unique(p, return_inverse=True, return_counts=True)
        y = isotonic_regression(np.bincount(place, truth) / count, weights=count).x
        rises = np.append(True, y[1:] != y[:-1])
        corner = rises | np.append(rises[1:], True)  # inside a level nothing has to be kept
        return cls(tuple(x[corner].tolist()), tuple(y[corner].tolist()))

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
        """Fit on logits (N, K) and labels (N,). Raises ValueError as `fit_each`."""
        return cls(fit_each(MonotoneMap.fit, logits, labels))

    def __call__(self, logits: ArrayLike) -> NDArray[np.float64]:
        return apply_each(self.classes, logits)

    def as_dict(self) -> dict[str, Any]:
        """Name and the corners of each class's function."""
        return {
            "name": self.name,
            "classes": [{"x": [*each.x], "y": [*each.y]} for each in self.classes],
        }


@dataclass(frozen=True)
class CautiousTemperature(Temperature):
    """Temperature scaling that raises confidence only if the labels show that it is too low.

    A temperature below 1, fitted on a few dozen right answers, turns the first wrong ones into
    certain errors. So it stays 1 unless the fall of the negative log-likelihood is significant.
    """

    @classmethod
    def fit(
        cls, logits: ArrayLike, labels: ArrayLike, groups: NDArray[np.int64] | None = None
    ) -> Self:
        """Fit as `Temperature.fit` does. A T below 1 has to lower the mean of -log p by more than
        LIKELIHOOD_RATIO / N, and more than its standard error. A group (N,) is one observation.
        Raises ValueError.

        >>> CautiousTemperature.fit([[0.0, 1.0]] * 9, [1] * 8 + [0]).temperature
        1.0
        >>> round(CautiousTemperature.fit([[0.0, 1.0]] * 90, [1] * 80 + [0] * 10).temperature, 3)
        0.481
        """
        temperature = Temperature.fit(logits, labels).temperature
        if temperature >= 1:
            return cls(temperature)
        gain = log_loss(softmax(logits), labels) - log_loss(
            apply_temperature(logits, temperature), labels
        )
        observations = len(gain) if groups is None else len(np.unique(groups))
        proven = gain.mean() * observations > LIKELIHOOD_RATIO
        proven &= gain.mean() > mean_error(gain, groups)
        return cls(temperature if proven else 1.0)


def mean_error(values: NDArray[np.float64], groups: NDArray[np.int64] | None) -> float:
    """The standard error of the mean of values (N,), a group (N,) being one observation."""
    return standard_error(values, np.full(len(values), 1 / len(values)), groups)


ALL_CALIBRATORS: dict[str, type[Calibrator]] = {**CALIBRATORS, Isotonic.name: Isotonic}
