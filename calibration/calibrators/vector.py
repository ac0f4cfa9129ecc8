"""Vector scaling: softmax(w * z + b), one weight and one bias per class (Guo et al. 2017, section
4.2).

It may change the predicted class. It depends on the constant that a row of logits may carry, unlike
temperature: apply it to logits of the kind it was fitted on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy.typing as npt

from calibration.calibrators.affine import Affine, fit_affine, vector_form
from calibration.calibrators.temperature import check_answers


@dataclass(frozen=True)
class Vector(Affine):
    """Vector scaling with `weight` (K,) and `bias` (K,); the biases sum to 0.

    >>> Vector(weight=(1.0, 1.0), bias=(0.0, 0.0))([[0.0, 0.0]])
    array([[0.5, 0.5]])
    """

    name: ClassVar[str] = "vector"
    keeps_argmax: ClassVar[bool] = False

    @classmethod
    def fit(cls, logits: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Fit all weights and biases, as `calibration.affine.fit_affine` does.

        Args:
            logits: (N, K), finite.
            labels: (N,) integers in 0..K-1.

        Raises:
            ValueError: as `calibration.calibrators.temperature.check_answers`.
        """
        z, y = check_answers(logits, labels)
        fitted = fit_affine(z, y, vector_form(z.shape[1]))
        return cls(fitted.weight, fitted.bias)

    def as_dict(self) -> dict[str, Any]:
        """Name, weight and bias."""
        return {"name": self.name, "weight": [*self.weight], "bias": [*self.bias]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild from `as_dict`."""
        return cls(tuple(data["weight"]), tuple(data["bias"]))
