"""The compared detectors. Each takes labels and returns the index of the first one that raised its
alarm.

Ours, the common ones (a windowed ECE against a threshold, Page's CUSUM), and those of river with
their defaults, on confidence minus correctness.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.monitoring.streams import FloatArray, Labels
from calibration.bins import bin_index
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings

Alarm = Callable[[Labels], int | None]  # labels -> index of the label that raised the first alarm
ARL = 1e5


def candor(*, average_run_length: float = ARL, tolerance: float = 0.025, classes: int = 0) -> Alarm:
    """Our e-detector."""
    settings = DriftSettings(
        average_run_length=average_run_length, tolerance=tolerance, class_count=classes
    )
    return lambda seen: DriftDetector(settings).update_many(
        seen.confidence, seen.correct, seen.predicted
    )


def windowed_ece(*, window: int = 500, margin: float = 0.02) -> Alarm:
    """Alarm when the ECE of the last `window` labels exceeds that of the first plus a margin."""

    def alarm(seen: Labels) -> int | None:
        ece = sliding_ece(seen, window)
        return _first(ece > ece[0] + margin, start=window - 1)

    return alarm


def sliding_ece(seen: Labels, window: int) -> FloatArray:
    """(N - window + 1,) ECE of every run of `window` labels."""
    difference = np.zeros((len(seen.correct) + 1, 15))
    difference[np.arange(len(seen.correct)) + 1, bin_index(seen.confidence)] = (
        seen.correct - seen.confidence
    )
    total = difference.cumsum(axis=0)
    return np.asarray(np.abs(total[window:] - total[:-window]).sum(axis=1) / window)


def cusum(*, shift: float = 0.4, threshold: float = math.log(ARL)) -> Alarm:
    """Page's CUSUM of a log-odds shift, either way; ARL >= exp(threshold)/2 (Lorden)."""

    def alarm(seen: Labels) -> int | None:
        odds = np.exp([-shift, shift])
        step = np.log(
            np.where(seen.correct[:, None], odds, 1.0) / (1 + seen.confidence[:, None] * (odds - 1))
        )
        total = step.cumsum(axis=0)
        lowest = np.minimum(np.minimum.accumulate(total, axis=0), 0)
        return _first((total - lowest).max(axis=1) >= threshold)

    return alarm


def of_river(build: Callable[[], object]) -> Alarm:
    """A detector of river on confidence minus correctness; 0 on average for a calibrated model."""

    def alarm(seen: Labels) -> int | None:
        detector: object = build()
        return _walk(detector, (seen.confidence - seen.correct).tolist())

    return alarm


def _walk(detector: object, values: Iterable[float]) -> int | None:
    for index, value in enumerate(values):
        detector.update(value)  # type: ignore[attr-defined]
        if detector.drift_detected:  # type: ignore[attr-defined]
            return index
    return None


def _first(over: np.ndarray, start: int = 0) -> int | None:
    return start + int(over.argmax()) if over.any() else None


def published() -> dict[str, tuple[Alarm, int]]:
    """The detectors of river, if installed, each with the streams that it is fast enough for."""
    try:
        from river import drift
    except ImportError:
        return {}
    return {
        "river PageHinkley(50), gap": (of_river(lambda: drift.PageHinkley(threshold=50)), 200),
        "river ADWIN, gap": (of_river(drift.ADWIN), 40),
    }


def own() -> dict[str, tuple[Alarm, int]]:
    """Ours and the common ones, each with the number of streams to run."""
    return {
        "Candor, ARL 1e5": (candor(), 200),
        "Candor, with classes": (candor(classes=2), 200),
        "windowed ECE(500) > first + .02": (windowed_ece(), 200),
        "CUSUM d=.4, h = log 1e5": (cusum(), 200),
    }
