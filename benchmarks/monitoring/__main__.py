"""`python -m benchmarks.monitoring`: the tables of docs/benchmarks.md about the drift watch and
selective labels.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.monitoring.beginnings import beginnings
from benchmarks.monitoring.beginnings import line as beginnings_line
from benchmarks.monitoring.detectors import Alarm, candor, own, published
from benchmarks.monitoring.looking import looking
from benchmarks.monitoring.streams import SHAPES, labels, opposed
from benchmarks.monitoring.tags import delays as tag_delays
from benchmarks.monitoring.tags import promises as tag_promises

BEFORE, AFTER, RUN = 5_000, 5_000, 20_000
GAPS = ((0.05, None), (0.10, None), (0.10, 1))  # the last one affects only answers of class 1


def false_alarms(alarm: Alarm, *, shape: str, streams: int, run: int = RUN) -> dict[str, float]:
    """The number of calibrated streams with an alarm, and the labels seen."""
    raised = [alarm(labels(seed, run, shape=shape)) for seed in range(streams)]
    return {"streams": streams, "alarms": sum(one is not None for one in raised)}


def delay(
    alarm: Alarm,
    *,
    shape: str,
    gap: float,
    streams: int,
    only_class: int | None = None,
    before: int = BEFORE,
) -> dict[str, float | None]:
    """Median labels from the change to the alarm, over the streams without an earlier one."""
    delays = []
    for seed in range(1000, 1000 + streams):
        seen = labels(
            seed, before + AFTER, shape=shape, gap=gap, after=before, only_class=only_class
        )
        raised = alarm(seen)
        if raised is None or raised >= before:
            delays.append(np.inf if raised is None else raised - before + 1)
    median = float(np.median(delays)) if delays else None
    return {
        "streams": len(delays),
        "median": None if median is None or np.isinf(median) else median,
    }


def compare(chosen: dict[str, tuple[Alarm, int]], *, streams: int) -> list[dict[str, Any]]:
    """One row per detector and distribution of confidence."""
    rows = []
    for name, (alarm, affordable) in chosen.items():
        for shape in SHAPES:
            started, count = time.perf_counter(), min(streams, affordable)
            row: dict[str, Any] = {
                "detector": name,
                "shape": shape,
                "false": false_alarms(alarm, shape=shape, streams=count),
            }
            for gap, only in GAPS:
                key = f"{gap:.2f}" + ("" if only is None else " in one class")
                few = max(count // 5, min(count, 10))
                row[key] = delay(alarm, shape=shape, gap=gap, streams=few, only_class=only)
            rows.append(row | {"seconds": round(time.perf_counter() - started, 1)})
            print(line(rows[-1]), flush=True)
    return rows


def opposed_classes(*, streams: int, run: int = RUN) -> Iterator[str]:
    """Lines of a table: models that are calibrated on average and not by class, with and without
    detectors by class.
    """
    for shape in SHAPES:
        for gap in (0.03, 0.05, 0.10):
            cells = []
            for classes in (2, 0):
                alarm = candor(classes=classes)
                raised = [
                    alarm(opposed(seed, run, shape=shape, gap=gap)) for seed in range(streams)
                ]
                found = [each + 1 for each in raised if each is not None]
                cells.append(
                    f"{len(found)} of {streams}"
                    + (f", median {np.median(found):.0f}" if classes else "")
                )
            yield f"| {shape} | {gap:.2f} | {' | '.join(cells)} |"


def line(row: dict[str, Any]) -> str:
    """One line of a Markdown table."""
    medians = [row[key]["median"] for key in ("0.05", "0.10", "0.10 in one class")]
    shown = ["-" if median is None else f"{median:.0f}" for median in medians]
    false = f"{row['false']['alarms']} of {row['false']['streams']}"
    return f"| {row['detector']} | {row['shape']} | {false} | {' | '.join(shown)} |"


def main() -> None:
    """Run the chosen part, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--streams", type=int, default=200, help="calibrated streams per detector [200]"
    )
    parser.add_argument(
        "--only",
        choices=(
            "own",
            "published",
            "classes",
            "beginnings",
            "selective",
            "looking",
            "remedies",
            "tags",
            "before-labels",
            "answer-changes",
        ),
        help="run only this part",
    )
    parser.add_argument(
        "--predictions", type=Path, help="predictions.npz of a run, for the real shift"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for part, chosen in (("own", own), ("published", published)):
        if given.only in (None, part):
            found[part] = compare(chosen(), streams=given.streams)
    if given.only in (None, "classes"):
        found["classes"] = []
        for row in opposed_classes(streams=given.streams):
            found["classes"].append(row)
            print(row, flush=True)
    if given.only in (None, "tags"):
        found["tags"] = []
        few = max(given.streams // 5, min(given.streams, 10))
        for row in itertools.chain(tag_promises(streams=given.streams), tag_delays(streams=few)):
            found["tags"].append(row)
            print(row, flush=True)
    if given.only in (None, "beginnings"):
        found["beginnings"] = beginnings(streams=min(given.streams, 100))
        print(*map(beginnings_line, found["beginnings"]), sep="\n")
    if given.only in (None, "selective"):
        from benchmarks.monitoring.selective import as_rows

        found["selective"] = as_rows()
        print(json.dumps(found["selective"], indent=2))
    if given.only in (None, "remedies"):
        from benchmarks.monitoring.remedies import as_rows as remedies

        found["remedies"] = remedies(shifts=given.streams)
    if given.only in (None, "before-labels"):
        from benchmarks.monitoring.before_labels import as_rows as before_labels

        found["before-labels"] = before_labels(streams=given.streams, predictions=given.predictions)
        print(json.dumps(found["before-labels"], indent=2))
    if given.only in (None, "answer-changes"):
        from benchmarks.monitoring.answer_changes import as_rows as answer_changes

        found["answer-changes"] = answer_changes(
            streams=given.streams, predictions=given.predictions
        )
        print(json.dumps(found["answer-changes"], indent=2))
    if given.only in (None, "looking"):
        found["looking"] = looking(models=given.streams)
        print(json.dumps(found["looking"], indent=2))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
