"""The compared detectors. Each takes labels and returns the index of the first one that raised its
alarm.

Ours, the common ones (a windowed ECE against a threshold, Page's CUSUM), and those of river with
their defaults, on the answers' errors or on confidence minus correctness, whichever suits them.
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


def of_river(build: Callable[[], object], *, on: Callable[[Labels], FloatArray]) -> Alarm:
    """A detector of river on a stream of numbers."""

    def alarm(seen: Labels) -> int | None:
        detector: object = build()
        return _walk(detector, on(seen).tolist())

    return alarm


def gaps(seen: Labels) -> FloatArray:
    """Confidence minus correctness; 0 on average for a calibrated model."""
    return seen.confidence - seen.correct


def errors(seen: Labels) -> FloatArray:
    """1 for a wrong answer, which detectors of falling accuracy expect."""
    return (~seen.correct).astype(np.float64)


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
        from river.drift import binary
    except ImportError:
        return {}
    return {
        "river PageHinkley(50), gap": (
            of_river(lambda: drift.PageHinkley(threshold=50), on=gaps),
            200,
        ),
        "river ADWIN, gap": (of_river(drift.ADWIN, on=gaps), 40),
        "river DDM, errors": (of_river(binary.DDM, on=errors), 100),
        "river HDDM_A, errors": (of_river(binary.HDDM_A, on=errors), 100),
    }


def own() -> dict[str, tuple[Alarm, int]]:
    """Ours and the common ones, each with the number of streams to run."""
    return {
        "Candor, ARL 1e5": (candor(), 200),
        "Candor, with classes": (candor(classes=2), 200),
        "windowed ECE(500) > first + .02": (windowed_ece(), 200),
        "CUSUM d=.4, h = log 1e5": (cusum(), 200),
    }
