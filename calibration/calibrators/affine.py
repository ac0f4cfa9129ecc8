"""Affine calibration: link(w * z + b), one weight and one bias per column, by maximum likelihood.

Every form here is a linear subspace of (w, b): a temperature has one weight for all classes; vector
scaling has all of them. The negative log-likelihood is convex in (w, b), so Newton's method with a
line search finds the one minimum, the same on every run.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.temperature import (
    check_answers,
    fit_temperature,
    log_sum_exp,
    sigmoid,
    softmax,
)
from calibration.measures.metrics import of_true_class

# toward the start: keeps w and b finite on separable answers and picks one of equal optima
RIDGE = 1e-6
_STEPS = 100
_TOLERANCE = 1e-12

Link = Literal["softmax", "sigmoid"]
LINKS: Final[Mapping[Link, Callable[[npt.ArrayLike], FloatArray]]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
}
NONE: Final = "none"  # the method of a map that was fitted on nothing


class CalibratorInvalid(ValueError):
    """Data that describe no calibrator, or predictions that it does not fit."""


@dataclass(frozen=True)
class Affine:
    """The map link(z * weight + bias) of logits z (..., K).

    Attributes:
        weight, bias: (K,); after a softmax the biases sum to 0.
        link: softmax of exclusive classes, sigmoid of findings.
        method: what was fitted; `none`: nothing.

    >>> Affine.of_temperature(2.0, 2)([[0.0, np.log(9)]])
    array([[0.25, 0.75]])
    """

    weight: tuple[float, ...]
    bias: tuple[float, ...]
    link: Link = "softmax"
    method: str = NONE

    @classmethod
    def identity(cls, columns: int, link: Link = "softmax") -> Self:
        """The map that is the link alone."""
        return cls((1.0,) * columns, (0.0,) * columns, link)

    @classmethod
    def of_temperature(cls, temperature: float, columns: int) -> Self:
        """The softmax of logits / temperature."""
        return cls((1 / temperature,) * columns, (0.0,) * columns, method="temperature")

    @classmethod
    def fit(
        cls,
        logits: npt.ArrayLike,
        labels: npt.ArrayLike,
        basis: FloatArray,
        *,
        weights: npt.ArrayLike | None = None,
        method: str,
    ) -> Self:
        """Minimize mean NLL + 1e-6/2 |theta|^2 over (w, b) = (1/T, 0) + basis @ theta.

        T is the best temperature of the logits if the basis has a weight, and 1 if it has biases
        alone.

        Logits are (N, K), the basis (2K, P) with weights before biases, and `weights` (N,) say how
        many answers each one stands for. ValueError as
        `calibration.calibrators.temperature.check_answers`, and for weights that are not positive
        and finite.

        >>> # right 3 times of 4
        >>> fitted = Affine.fit([[0.0, 0.0]] * 4, [1, 1, 1, 0], bias_form(2), method="case_mix")
        >>> fitted([[0.0, 0.0]]).round(3)
        array([[0.25, 0.75]])
        """
        z, y = check_answers(logits, labels)
        share = _shares(weights, len(y))
        spread = float((z - z.mean(axis=1, keepdims=True)).std()) or 1.0
        classes = z.shape[1]
        scale = spread / fit_temperature(z, y) if basis[:classes].any() else spread
        start = np.repeat([scale, 0.0], classes)
        weight, bias = np.split(_newton(start, basis, z / spread, y, share), 2)
        numbers = tuple((weight / spread).tolist()), tuple((bias - bias.mean()).tolist())
        return cls(*numbers, method=method)

    @property
    def fitted(self) -> bool:
        """Whether labels determined it."""
        return self.method != NONE

    @property
    def temperature(self) -> float:
        """By which the logits of its first column are divided."""
        return 1 / self.weight[0]

    def __call__(self, logits: npt.ArrayLike) -> FloatArray:
        """Return probabilities of the shape of the logits; a single column takes (N,) as well."""
        z = np.asarray(logits, dtype=np.float64)
        return LINKS[self.link](z * np.array(self.weight) + np.array(self.bias))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"method": self.method, "weight": [*self.weight], "bias": [*self.bias]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], columns: int, link: Link = "softmax") -> Self:
        """The map of `as_dict` for so many columns. Raises CalibratorInvalid."""
        if not isinstance(data.get("method"), str):
            raise CalibratorInvalid('"method" must be a name')
        weight, bias = (_numbers(data, name, columns) for name in ("weight", "bias"))
        return cls(weight, bias, link, data["method"])


def _numbers(data: Mapping[str, Any], name: str, length: int) -> tuple[float, ...]:
    values = data.get(name)
    ok = isinstance(values, list) and len(values) == length
    if not ok or not all(
        isinstance(each, int | float) and math.isfinite(each) for each in values or ()
    ):
        raise CalibratorInvalid(
            f'"{name}" must be a list of {length} finite numbers, one per class'
        )
    return tuple(float(each) for each in values or ())


def temperature_form(classes: int) -> FloatArray:
    """Basis (2K, 1) of one weight for all classes and no bias.

    >>> temperature_form(2).T
    array([[1., 1., 0., 0.]])
    """
    return np.concatenate([np.ones((classes, 1)), np.zeros((classes, 1))])


def bias_form(classes: int) -> FloatArray:
    """Basis (2K, K) of one bias per class and no weight."""
    return np.concatenate([np.zeros((classes, classes)), np.eye(classes)])


def vector_form(classes: int) -> FloatArray:
    """Basis (2K, 2K) of one weight and one bias per class."""
    return np.eye(2 * classes)


def _shares(weights: npt.ArrayLike | None, n: int) -> FloatArray:
    if weights is None:
        return np.full(n, 1 / n)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n,) or not np.isfinite(w).all() or not (w > 0).all():
        raise ValueError(
            f"weights must be positive and finite, one for each of the {n} answers; got shape "
            f"{w.shape}"
        )
    return np.asarray(w / w.sum())


def _newton(
    start: FloatArray,
    basis: FloatArray,
    z: FloatArray,
    labels: npt.NDArray[np.integer],
    share: FloatArray,
) -> FloatArray:
    """Return (2K,) weights and biases, `start` + basis @ theta, for logits z (N, K)."""
    theta = np.zeros(basis.shape[1])
    lowest = _loss(start, theta, z, labels, share)
    for _ in range(_STEPS):
        gradient, hessian = _slope(start + basis @ theta, z, labels, share)
        gradient = basis.T @ gradient + RIDGE * theta
        hessian = basis.T @ hessian @ basis + RIDGE * np.eye(len(theta))
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)  # twice the fall that the quadratic model expects
        if decrement < _TOLERANCE:
            break
        size = 1.0
        while True:
            moved = theta - size * step
            lower = _loss(start + basis @ moved, moved, z, labels, share)
            if lower <= lowest - 1e-4 * size * decrement:
                break
            size /= 2
            if size < 1e-8:  # rounding is all that is left
                return np.asarray(start + basis @ theta)
        theta, lowest = moved, lower
    return np.asarray(start + basis @ theta)


def _loss(
    scaling: FloatArray,
    theta: FloatArray,
    z: FloatArray,
    labels: npt.NDArray[np.integer],
    share: FloatArray,
) -> float:
    scaled = _scale(scaling, z)
    nll = log_sum_exp(scaled) - of_true_class(scaled, labels)
    return float(share @ nll + RIDGE / 2 * (theta**2).sum())


def _slope(
    scaling: FloatArray, z: FloatArray, labels: npt.NDArray[np.integer], share: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return gradient (2K,) and Hessian (2K, 2K) of the mean NLL in weights and biases."""
    n, k = z.shape
    p = softmax(_scale(scaling, z))
    error = p.copy()
    error[np.arange(n), labels] -= 1
    gradient = np.concatenate([share @ (error * z), share @ error])
    features = np.concatenate([p * z, p], axis=1)  # (N, 2K)
    hessian = -(features * share[:, np.newaxis]).T @ features
    weights, biases, both = range(k), range(k, 2 * k), share @ (p * z)
    hessian[weights, weights] += share @ (p * z * z)
    hessian[biases, biases] += share @ p
    hessian[weights, biases] += both
    hessian[biases, weights] += both
    return gradient, hessian


def _scale(scaling: FloatArray, z: FloatArray) -> FloatArray:
    classes = z.shape[1]
    return z * scaling[:classes] + scaling[classes:]
