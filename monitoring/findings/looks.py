"""What a reader who looks every day may take from a figure: the gap at every look at once, and calm
evidence.

A 95 % interval is wrong at one look in twenty, so a figure that is looked at daily seems
significant sooner or later. And the drift detector's evidence rises with the number of labels while
nothing is wrong: half of what an alarm takes is its normal level, not half an alarm.
"""

import math
from dataclasses import dataclass

import numpy as np

from calibration.bins import BinSums, FloatArray, IntArray
from calibration.intervals.confidence_sequence import gap_sequence
from monitoring.findings.drift import Drift
from monitoring.findings.windows import Window

_MOVING = ("days", "last")  # windows whose beginning moves, so that every day is a new comparison
# Log-evidence of calibrated streams, 5 % and 95 % quantiles by labels: python -m
# benchmarks.monitoring --only looking
_CALM_LABELS = (100, 300, 1_000, 5_000, 20_000)
_CALM_LOWER = (4.17, 4.97, 5.71, 6.19, 6.37)
_CALM_UPPER = (4.73, 5.49, 6.52, 7.46, 7.58)


@dataclass(frozen=True)
class GapAtEveryLook:
    """The gap lies between these at every look at once, in 19 of 20 models."""

    lower: float
    upper: float

    @property
    def excludes_zero(self) -> bool:
        """Whether looking often does not explain the gap."""
        return self.lower > 0 or self.upper < 0


@dataclass(frozen=True)
class CalmEvidence:
    """The log-evidence of nine in ten calibrated models, as shares of what an alarm takes."""

    lower: float
    upper: float


def gap_at_every_look(labeled: BinSums, window: Window) -> GapAtEveryLook | None:
    """Return the confidence sequence of the gap; None in a window that moves, and without labels.

    Labels of an audit whose share changed are weighted, which makes the promise approximate.
    """
    if window.kind in _MOVING or not labeled.total:
        return None
    found = gap_sequence(
        labeled.total, -float(labeled.difference.sum()), float(labeled.squared_error.sum())
    )
    return GapAtEveryLook(*found)


def calm_evidence(drift: Drift) -> CalmEvidence | None:
    """The evidence of nine in ten calibrated models, as shares of what an alarm takes.

    None for fewer labels than were simulated. Beyond the last simulated number, its range is
    returned.
    """
    lower, upper = (
        float(end[0])
        for end in calm_range(np.array([drift.labels]), np.array([drift.log_threshold]))
    )
    return None if math.isnan(lower) else CalmEvidence(lower, upper)


def calm_range(labels: IntArray, log_threshold: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`calm_evidence` for (N,) numbers of labels: (N,) lower and upper ends, or NaN."""
    at, known = np.log(np.maximum(labels, 1)), np.log(_CALM_LABELS)
    few = labels < _CALM_LABELS[0]
    lower, upper = (
        np.where(few, np.nan, np.minimum(1.0, np.interp(at, known, ends) / log_threshold))
        for ends in (_CALM_LOWER, _CALM_UPPER)
    )
    return lower, upper
