"""`python -m benchmarks.monitoring`: the tables of docs/benchmarks.md about the drift watch and
recalibration.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from benchmarks.monitoring.detectors import Alarm, candor, own, published
from benchmarks.monitoring.patients import patients
from benchmarks.monitoring.remedies import simulate
from benchmarks.monitoring.streams import SHAPES, labels, opposed

BEFORE, AFTER, RUN = 5_000, 5_000, 20_000
GAPS = ((0.05, None), (0.10, None), (0.10, 1))  # the last one affects only answers of class 1
Rows: TypeAlias = Iterator[dict[str, Any]]


def false_alarms(alarm: Alarm, *, shape: str, streams: int, run: int = RUN) -> int:
    """The number of calibrated streams with an alarm."""
    return sum(alarm(labels(seed, run, shape=shape)) is not None for seed in range(streams))


def delay(
    alarm: Alarm,
    *,
    shape: str,
    gap: float,
    streams: int,
    only_class: int | None = None,
    before: int = BEFORE,
) -> float | None:
    """Median labels from the change to the alarm, over the streams without an earlier one."""
    delays = []
    for seed in range(1000, 1000 + streams):
        seen = labels(
            seed, before + AFTER, shape=shape, gap=gap, after=before, only_class=only_class
        )
        raised = alarm(seen)
        if raised is None or raised >= before:
            delays.append(np.inf if raised is None else raised - before + 1)
    median = float(np.median(delays)) if delays else np.inf
    return None if np.isinf(median) else median


def compare(detectors: dict[str, tuple[Alarm, int]], *, streams: int) -> Rows:
    """Each detector with each distribution of confidence."""
    for name, (alarm, affordable) in detectors.items():
        for shape in SHAPES:
            count = min(streams, affordable)
            row = {"detector": name, "shape": shape, "streams": count}
            row["false"] = false_alarms(alarm, shape=shape, streams=count)
            for gap, only in GAPS:
                few = max(count // 5, min(count, 10))
                key = f"{gap:.2f}" + ("" if only is None else " in one class")
                row[key] = delay(alarm, shape=shape, gap=gap, streams=few, only_class=only)
            yield row


def opposed_classes(*, streams: int, gap: float = 0.05) -> Rows:
    """Models calibrated on average and not by class, with and without detectors by class."""
    for shape in SHAPES:
        for name, classes in (("class-wise", 2), ("top-label", 0)):
            alarm = candor(classes=classes)
            raised = [alarm(opposed(seed, RUN, shape=shape, gap=gap)) for seed in range(streams)]
            alarms = sum(label is not None for label in raised)
            yield {"shape": shape, "watch": name, "alarms": alarms, "streams": streams}


PARTS: dict[str, Callable[[int], Rows]] = {
    "own": lambda streams: compare(own(), streams=streams),
    "published": lambda streams: compare(published(), streams=streams),
    "classes": lambda streams: opposed_classes(streams=streams),
    "patients": lambda streams: patients(streams=min(streams, 60)),
    "remedies": lambda streams: simulate(shifts=streams),
}


def main() -> None:
    """Run the chosen part, or all; each row is a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring", description=__doc__)
    parser.add_argument("--streams", type=int, default=200, help="per detector, or shifts [200]")
    parser.add_argument("--only", choices=PARTS, help="run only this part")
    chosen = parser.parse_args()
    for name, part in PARTS.items():
        if chosen.only in (None, name):
            for row in part(chosen.streams):
                print(json.dumps({"part": name} | row), flush=True)


if __name__ == "__main__":
    main()
