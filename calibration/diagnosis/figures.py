"""Figures of a group: how confident, and how often right, with 95 % intervals."""

from calibration.bins import FloatArray
from calibration.diagnosis.answers import BoolArray
from calibration.diagnosis.facts import Figures
from calibration.measures.estimates import IntervalEstimate
from calibration.measures.metrics import gap_interval
from calibration.measures.reliability import wilson_interval


def figures_of(confidence: FloatArray, right: BoolArray, weight: FloatArray) -> Figures:
    """Return the figures of labeled answers.

    Args:
        confidence: (n,) in [0, 1], n > 0.
        right: (n,) bool.
        weight: (n,) what each label is worth, in (0, 1].
    """
    worth = float(weight.sum())
    mean, accuracy = weighted(confidence, weight) / worth, weighted(right, weight) / worth
    share = IntervalEstimate(accuracy, *wilson_interval(accuracy, worth))
    return Figures(len(confidence), mean, share, gap_of(confidence, right, weight))


def gap_of(confidence: FloatArray, right: BoolArray, weight: FloatArray) -> IntervalEstimate:
    """Mean confidence minus accuracy, with its 95 % interval, of n > 0 answers as above."""
    worth, difference = float(weight.sum()), confidence - right
    gap, mean = weighted(difference, weight) / worth, weighted(confidence, weight) / worth
    variance = weighted((difference - gap) ** 2, weight) / worth
    return IntervalEstimate(gap, *gap_interval(gap, mean, variance, worth))


def weighted(values: FloatArray | BoolArray, weight: FloatArray) -> float:
    """Weighted sum of values (n,). Not `@`: on many values its threads cost more than they save."""
    return float((values * weight).sum())
