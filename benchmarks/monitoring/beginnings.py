"""The quality of an alarm's estimated start: its error, and the width and coverage of its
interval.
"""

from typing import Any

import numpy as np

from benchmarks.monitoring.streams import SHAPES, labels
from calibration.drift.detector import DriftDetector
from calibration.drift.onset import onset
from calibration.drift.state import DriftSettings


def beginnings(
    *, streams: int = 100, change: int = 2000, gaps: tuple[float, ...] = (0.05, 0.1, 0.2)
) -> list[dict[str, Any]]:
    """One row per shape and gap, over the alarms after the change."""
    return [_row(shape, gap, streams=streams, change=change) for shape in SHAPES for gap in gaps]


def _row(shape: str, gap: float, *, streams: int, change: int) -> dict[str, Any]:
    found = []
    for seed in range(2000, 2000 + streams):
        seen = labels(seed, change + 4000, shape=shape, gap=gap, after=change)
        detector = DriftDetector(DriftSettings())
        alarm = detector.update_many(seen.confidence, seen.correct)
        if alarm is None or alarm < change:
            continue
        until = seen[slice(0, alarm + 1)]
        begun = onset(until.confidence, until.correct, direction=detector.direction or "over")
        if begun is not None:
            found.append(
                (
                    alarm - change,
                    begun.label - change,
                    begun.upper - begun.lower,
                    begun.lower <= change <= begun.upper,
                )
            )
    delay, error, width, holds = (np.array(column) for column in zip(*found, strict=True))
    return {
        "shape": shape,
        "gap": gap,
        "alarms": len(found),
        "delay": float(np.median(delay)),
        "error": float(np.median(np.abs(error))),
        "width": float(np.median(width)),
        "holds": float(holds.mean()),
    }


def line(row: dict[str, Any]) -> str:
    """One line of a Markdown table."""
    figures = (
        f"{row['delay']:.0f} | {row['error']:.0f} | {row['width']:.0f} | {100 * row['holds']:.0f} %"
    )
    return f"| {row['shape']} | {row['gap']:.2f} | {row['alarms']} | {figures} |"
