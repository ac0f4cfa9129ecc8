"""What the watch's tolerance hides, the error of a fitted temperature, and what not: errors that
become four times as frequent where the model is nearly always right.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.monitoring.detectors import ARL
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings

FloatArray = npt.NDArray[np.float64]
SHAPES = {"0.82": (6.0, 1.3), "0.957": (22.0, 1.0), "0.995": (200.0, 1.0)}  # beta distributions
VALIDATION, RUN = 1_000, 20_000


def tolerances(*, streams: int) -> Iterator[dict[str, Any]]:
    """For each mean confidence: streams with an alarm of the fit alone, and median delays."""
    for mean, (a, b) in SHAPES.items():
        alarms, delays = [], []
        for seed in range(streams):
            rng = np.random.default_rng((7, seed))
            scale = _fitted(rng, rng.beta(a, b, VALIDATION))
            p = rng.beta(a, b, RUN)
            odds = (p / (1 - p)) ** scale
            alarms.append(_alarm(odds / (1 + odds), rng.random(RUN) < p))
            wrong = np.minimum(4 * (1 - p), 0.95) if mean == "0.995" else 1.1 - p
            delays.append(_alarm(p, rng.random(RUN) >= wrong))
        yield {
            "mean confidence": mean,
            "streams": streams,
            "alarms of the fit in 3,000": sum(label <= 3_000 for label in alarms),
            "in 20,000": sum(label <= RUN for label in alarms),
            "median delay (gap 0.10, or errors times four)": float(np.median(delays)),
        }


def _fitted(rng: np.random.Generator, p: FloatArray) -> float:
    """1 / temperature, fitted on answers that are calibrated."""
    z, right = np.log(p / (1 - p)), rng.random(len(p)) < p
    scales = np.exp(np.linspace(-1, 1, 401))
    losses = [np.logaddexp(0, np.where(right, -scale * z, scale * z)).sum() for scale in scales]
    return float(scales[int(np.argmin(losses))])


def _alarm(p: FloatArray, right: npt.NDArray[np.bool_]) -> float:
    """The label that raises the alarm, counted from 1; infinity if none does."""
    detector = DriftDetector(DriftSettings(average_run_length=ARL, class_count=2))
    found = detector.update_many(p, right, np.arange(len(p)) % 2)
    return np.inf if found is None else found + 1
