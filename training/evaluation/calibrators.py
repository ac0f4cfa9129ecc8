"""The calibrators of a run, fitted on validation: one that is affine can be exported."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.bins import FloatArray
from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import VECTOR, standard_error
from calibration.calibrators.temperature import (
    apply_temperature,
    at_bound,
    fit_temperature,
    highest_temperature,
    softmax,
)
from calibration.measures.metrics import log_loss
from training.evaluation.baselines import fit_histogram, fit_isotonic

LIKELIHOOD_RATIO = 1.92  # half the 95 % quantile of chi-squared with one degree of freedom

Method = Literal["none", "temperature", "vector", "histogram", "isotonic"]
Groups = NDArray[np.int64] | None
Calibrator = Callable[[FloatArray], FloatArray]


def fit_cautiously(logits: ArrayLike, labels: ArrayLike, groups: Groups = None) -> Affine:
    """Temperature scaling that raises confidence only if the labels show that it is too low.

    A temperature below 1, fitted on a few dozen right answers, turns the first wrong ones into
    certain errors. So it stays 1 unless it lowers the mean of -log p by more than LIKELIHOOD_RATIO
    / N, and more than its standard error. It is 1 too if the fit is at a bound. A group (N,) is one
    observation. Raises ValueError as `calibration.calibrators.temperature.fit_temperature`.

    >>> fit_cautiously([[0.0, 1.0]] * 9, [1] * 8 + [0]).temperature
    1.0
    >>> round(fit_cautiously([[0.0, 1.0]] * 90, [1] * 80 + [0] * 10).temperature, 3)
    0.481
    """
    z = np.asarray(logits, dtype=np.float64)
    temperature = fit_temperature(z, labels)
    if at_bound(temperature, highest_temperature(z)):
        temperature = 1.0
    if temperature < 1 and not _is_proven(z, labels, groups, temperature):
        temperature = 1.0
    return Affine.of_temperature(temperature, z.shape[1])


def _is_proven(z: FloatArray, labels: ArrayLike, groups: Groups, temperature: float) -> bool:
    gain = log_loss(softmax(z), labels) - log_loss(apply_temperature(z, temperature), labels)
    observations = len(gain) if groups is None else len(np.unique(groups))
    enough = gain.mean() * observations > LIKELIHOOD_RATIO
    return bool(enough and gain.mean() > standard_error(gain, groups))


# by logits (N, K), labels (N,) and groups (N,)
FITS: Final[Mapping[Method, Callable[[FloatArray, NDArray[Any], Groups], Calibrator]]] = {
    "none": lambda z, _labels, _groups: Affine.identity(z.shape[1]),
    "temperature": fit_cautiously,
    "vector": lambda z, labels, _groups: VECTOR.fit(z, labels),
    "histogram": lambda z, labels, _groups: fit_histogram(z, labels),
    "isotonic": lambda z, labels, _groups: fit_isotonic(z, labels),
}
METHODS: Final = tuple(FITS)
EXPORTABLE: Final[tuple[Method, ...]] = ("temperature", "vector", "none")
