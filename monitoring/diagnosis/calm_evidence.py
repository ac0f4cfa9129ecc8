"""The evidence of calibrated models: it rises with the number of labels while nothing is wrong, so
half of what an alarm takes is its normal level, not half an alarm.
"""

import math
from dataclasses import dataclass

import numpy as np

from calibration.bins import FloatArray, IntArray
from monitoring.diagnosis.detectors import Drift

# Log-evidence of calibrated streams, 5 % and 95 % quantiles by labels: python -m
# benchmarks.monitoring --only looking
_CALM_LABELS = (100, 300, 1_000, 5_000, 20_000)
_CALM_LOWER = (4.17, 4.97, 5.71, 6.19, 6.37)
_CALM_UPPER = (4.73, 5.49, 6.52, 7.46, 7.58)


@dataclass(frozen=True)
class CalmEvidence:
    """The log-evidence of nine in ten calibrated models, as shares of what an alarm takes."""

    lower: float
    upper: float


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
