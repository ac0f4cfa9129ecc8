"""The calibrator of a finding: sigmoid(z / T + b), Platt's (1999) scaling of a logit z."""

from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import TEMPERATURE_BIAS
from calibration.calibrators.temperature import at_bound

FEWEST_POSITIVES = 20  # and as many negatives: on fewer, T and b are mostly chance


UNFITTED: Final = Affine.identity(1, "sigmoid")


def finding_calibrator(temperature: float, bias: float) -> Affine:
    """The fitted map sigmoid(z / temperature + bias), of a single column.

    >>> finding_calibrator(2.0, 0.0)([0.0])
    array([0.5])
    """
    return Affine((1 / temperature,), (bias,), "sigmoid", TEMPERATURE_BIAS.name)


def stored(calibrator: Affine) -> Affine:
    """The calibrator of a finding with its temperature and bias in float32, as in a graph."""
    if not calibrator.fitted:
        return calibrator
    numbers = (float(np.float32(each)) for each in (calibrator.temperature, *calibrator.bias))
    return finding_calibrator(*numbers)


def fit_finding(logits: npt.ArrayLike, label: npt.ArrayLike) -> Affine:
    """Fit T and b by maximum likelihood.

    Returns `UNFITTED` if positives or negatives are few, or if T is at a bound of [0.05, 20]: then
    labels do not determine it. The likelihood has Platt's targets: (P + 1) / (P + 2) for P
    positives and 1 / (Q + 2) for Q negatives. So logits that separate the two give no certainty.

    Logits (N,) are finite, and a label is 1, 0, or NaN for unknown; else ValueError.

    >>> # 20 of 100 are positive where the logit is 0, and 80 of 100 where it is 2
    >>> present = np.arange(200) % 100 < np.repeat([20, 80], 100)
    >>> fitted = fit_finding(np.repeat([0.0, 2.0], 100), present)
    >>> fitted([0.0, 2.0]).round(2)
    array([0.21, 0.79])
    >>> fit_finding([0.0, 1.0], [0, 1]).fitted
    False
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if z.shape != y.shape or z.ndim != 1:
        raise ValueError(f"logits {z.shape} and labels {y.shape} must both be (N,)")
    z, y = z[~np.isnan(y)], y[~np.isnan(y)]
    positives = int(y.sum())
    if min(positives, len(y) - positives) < FEWEST_POSITIVES:
        return UNFITTED
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))
    weights = np.concatenate([target, 1 - target])
    weight, bias = _likeliest(z, weights)
    if weight <= 0 or at_bound(1 / weight):
        return UNFITTED
    return Affine((weight,), (bias,), "sigmoid", TEMPERATURE_BIAS.name)


def _likeliest(logits: FloatArray, weights: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Weight and bias of logits (M,) that count `weights` (2M,) as present, and then as absent."""
    both = np.stack([np.zeros(2 * len(logits)), np.tile(logits, 2)], axis=1)
    affine = TEMPERATURE_BIAS.fit(both, np.repeat([1, 0], len(logits)), weights=weights)
    return affine.weight[1], affine.bias[1] - affine.bias[0]
