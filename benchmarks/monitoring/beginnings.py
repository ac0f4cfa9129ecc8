"""The quality of an alarm's estimated start: its error, and width and coverage of its interval."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.monitoring.streams import SHAPES, labels
from calibration.drift.detector import DriftDetector
from calibration.drift.onset import onset
from calibration.drift.state import DriftSettings

CHANGE = 2000  # the label from which confidence is too high
GAPS = (0.05, 0.1, 0.2)


def beginnings(*, streams: int) -> Iterator[dict[str, Any]]:
    """One row per shape and gap, over the alarms after the change."""
    for shape in SHAPES:
        for gap in GAPS:
            yield _row(shape, gap, streams=streams)


def _row(shape: str, gap: float, *, streams: int) -> dict[str, Any]:
    rows = []
    for seed in range(2000, 2000 + streams):
        seen = labels(seed, CHANGE + 4000, shape=shape, gap=gap, after=CHANGE)
        detector = DriftDetector(DriftSettings())
        alarm = detector.update_many(seen.confidence, seen.correct)
        if alarm is None or alarm < CHANGE:
            continue
        until = seen[slice(0, alarm + 1)]
        begun = onset(until.confidence, until.correct, direction=detector.direction or "over")
        if begun is not None:
            holds = begun.lower <= CHANGE <= begun.upper
            rows.append((begun.label - CHANGE, begun.upper - begun.lower, holds))
    error, width, holds = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "shape": shape,
        "gap": gap,
        "alarms": len(rows),
        "median error": float(np.median(np.abs(error))),
        "median width": float(np.median(width)),
        "interval holds": float(holds.mean()),
    }
