"""Figures of a group: how confident, how often right, and how far apart in odds."""

import math

import numpy as np

from calibration.bins import FloatArray
from calibration.diagnosis.answers import BoolArray
from calibration.diagnosis.evidence import logit, sigmoid
from calibration.diagnosis.facts import Figures, IntervalEstimate
from calibration.measures.metrics import Z95, gap_interval
from calibration.measures.reliability import wilson_interval

_STEPS = 25
_PRIOR = 0.01  # keeps the shift finite where all answers are right, or wrong


def figures_of(confidence: FloatArray, right: BoolArray, weight: FloatArray) -> Figures | None:
    """Return the figures of labeled answers; None without any.

    Args:
        confidence: (n,) in [0, 1].
        right: (n,) bool.
        weight: (n,) what each label is worth, in (0, 1].
    """
    if not len(confidence):
        return None
    worth = float(weight.sum())
    mean, accuracy = weighted(confidence, weight) / worth, weighted(right, weight) / worth
    return Figures(
        len(confidence),
        worth,
        mean,
        _share(accuracy, worth),
        gap_of(confidence, right, weight),
        int(len(right) - right.sum()),
        float((1 - confidence).sum()),
        _odds(confidence, right, weight),
    )


def _share(share: float, n: float) -> IntervalEstimate:
    return IntervalEstimate(share, *wilson_interval(share, n))


def gap_of(confidence: FloatArray, right: BoolArray, weight: FloatArray) -> IntervalEstimate:
    """Mean confidence minus accuracy, with its 95 % interval, of n > 0 answers as above."""
    worth, difference = float(weight.sum()), confidence - right
    gap, mean = weighted(difference, weight) / worth, weighted(confidence, weight) / worth
    variance = weighted((difference - gap) ** 2, weight) / worth
    return IntervalEstimate(gap, *gap_interval(gap, mean, variance, worth))


def weighted(values: FloatArray | BoolArray, weight: FloatArray) -> float:
    """Weighted sum of values (n,). Not `@`: on many values its threads cost more than they save."""
    return float((values * weight).sum())


def _odds(confidence: FloatArray, right: BoolArray, weight: FloatArray) -> IntervalEstimate:
    """Factor on the odds, by maximum likelihood; Wald's interval of its logarithm."""
    z, shift, curvature = logit(confidence), 0.0, 1.0
    for _ in range(_STEPS):
        q = sigmoid(z + shift)
        curvature = weighted(q * (1 - q), weight) + _PRIOR
        step = (weighted(right - q, weight) - _PRIOR * shift) / curvature
        shift += float(np.clip(step, -1, 1))
        if abs(step) < 1e-5:
            break
    half = Z95 / math.sqrt(curvature)
    return IntervalEstimate(*(_exp(value) for value in (shift, shift - half, shift + half)))


def _exp(value: float) -> float:
    return math.exp(min(max(value, -50.0), 50.0))
