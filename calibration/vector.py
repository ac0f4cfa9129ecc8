"""Vector scaling: softmax(w * z + b), one weight and one bias per class (Guo et al. 2017, section 4.2).

The negative log-likelihood is convex in w and b, so Newton's method with a line search finds its minimum, the same on
every run. It may change the predicted class. Unlike temperature scaling, it depends on the constant that each row of
logits may carry: apply it to logits of the kind it was fitted on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.metrics import of_true_class
from calibration.temperature import check_answers, fit_temperature, softmax

RIDGE = 1e-6  # toward temperature scaling: keeps w and b finite on separable answers, and the optimum unique
_STEPS = 100
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Vector:
    """Vector scaling with `weight` (K,) and `bias` (K,); the biases sum to 0.

    >>> Vector(weight=(1.0, 1.0), bias=(0.0, 0.0))([[0.0, 0.0]])
    array([[0.5, 0.5]])
    """

    name: ClassVar[str] = "vector"
    keeps_argmax: ClassVar[bool] = False
    weight: tuple[float, ...]
    bias: tuple[float, ...]

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Minimize mean NLL + 1e-6/2 (|w - 1/T|^2 + |b|^2), for logits of unit spread, T being their best temperature.

        Args:
            logits: (N, K), finite.
            labels: (N,) integers in 0..K-1.

        Raises:
            ValueError: as `calibration.temperature.check_answers`.
        """
        z, y = check_answers(logits, labels)
        spread = float((z - z.mean(axis=1, keepdims=True)).std()) or 1.0
        start = np.repeat([spread / fit_temperature(z, y), 0.0], z.shape[1])
        weight, bias = np.split(_newton(start, z / spread, y), 2)
        return cls(tuple((weight / spread).tolist()), tuple((bias - bias.mean()).tolist()))

    def __call__(self, logits: npt.ArrayLike) -> FloatArray:
        return softmax(np.asarray(logits, dtype=np.float64) * np.array(self.weight) + np.array(self.bias))

    def as_dict(self) -> dict[str, Any]:
        """Return the name, weights and biases."""
        return {"name": self.name, "weight": [*self.weight], "bias": [*self.bias]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `as_dict`."""
        return cls(tuple(data["weight"]), tuple(data["bias"]))


class _Slope(NamedTuple):
    gradient: FloatArray  # (2K,), weights before biases
    hessian: FloatArray  # (2K, 2K)


def _newton(start: FloatArray, z: FloatArray, labels: npt.NDArray[np.integer]) -> FloatArray:
    """Return (2K,) weights and biases for logits z (N, K)."""
    theta, loss = start, _loss(start, start, z, labels)
    for _ in range(_STEPS):
        slope = _slope(theta, start, z, labels)
        step = np.linalg.solve(slope.hessian, slope.gradient)
        decrement = float(slope.gradient @ step)  # twice the decrease that the quadratic model expects
        if decrement < _TOLERANCE:
            break
        size = 1.0
        while (lower := _loss(theta - size * step, start, z, labels)) > loss - 1e-4 * size * decrement:
            size /= 2
            if size < 1e-8:  # only rounding is left
                return theta
        theta, loss = theta - size * step, lower
    return theta


def _loss(theta: FloatArray, start: FloatArray, z: FloatArray, labels: npt.NDArray[np.integer]) -> float:
    scaled = _scale(theta, z)
    nll = np.logaddexp.reduce(scaled, axis=1) - of_true_class(scaled, labels)
    return float(nll.mean() + RIDGE / 2 * ((theta - start) ** 2).sum())


def _slope(theta: FloatArray, start: FloatArray, z: FloatArray, labels: npt.NDArray[np.integer]) -> _Slope:
    n, k = z.shape
    p = softmax(_scale(theta, z))
    error = p.copy()
    error[np.arange(n), labels] -= 1
    gradient = np.concatenate([(error * z).mean(axis=0), error.mean(axis=0)]) + RIDGE * (theta - start)
    features = np.concatenate([p * z, p], axis=1)  # (N, 2K)
    hessian = -features.T @ features / n + RIDGE * np.eye(2 * k)
    weights, biases, both = range(k), range(k, 2 * k), (p * z).mean(axis=0)
    hessian[weights, weights] += (p * z * z).mean(axis=0)
    hessian[biases, biases] += p.mean(axis=0)
    hessian[weights, biases] += both
    hessian[biases, weights] += both
    return _Slope(gradient, hessian)


def _scale(theta: FloatArray, z: FloatArray) -> FloatArray:
    weight, bias = np.split(theta, 2)
    return z * weight + bias
