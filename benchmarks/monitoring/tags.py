"""Drift watches of tags: the promise that they share, and the delay until one site is found."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.monitoring.streams import SHAPES, Labels, labels
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from monitoring.drift.tag_settings import TagSettings, slice_of

RUN, BEFORE, AFTER = 20_000, 5_000, 15_000
VALUES = {"site": 20, "device": 5, "ward": 3}  # the n-th value has a share in proportion to 1 / n
SMALL_SITE = 6  # a site with 4.6 % of the labels
TAGS = TagSettings(tuple(VALUES))
AVERAGE_RUN_LENGTH = 1_000.0
IntArray = npt.NDArray[np.int64]


def values(seed: int, n: int) -> dict[str, IntArray]:
    """Draw the value of each tag for n labels."""
    rng = np.random.default_rng((seed, 1))
    shares = {key: 1 / np.arange(1, count + 1) for key, count in VALUES.items()}
    return {key: rng.choice(len(share), n, p=share / share.sum()) for key, share in shares.items()}


def alarms(seen: Labels, settings: DriftSettings) -> int:
    """How often a detector raises its alarm if each is acknowledged at once."""
    detector, start, count = DriftDetector(settings), 0, 0
    while start < len(seen.confidence):
        rest = seen[start:]
        raised = detector.update_many(rest.confidence, rest.correct, rest.predicted)
        if raised is None:
            break
        detector.reset()
        start, count = start + raised + 1, count + 1
    return count


def chosen(seen: Labels, rows: npt.NDArray[np.bool_]) -> Labels:
    """Return some of the labels."""
    return Labels(seen.confidence[rows], seen.correct[rows], seen.predicted[rows])


def false_alarms(*, shape: str, streams: int) -> tuple[int, int]:
    """Count the false alarms of calibrated streams: of all answers, and of tags."""
    settings = DriftSettings(average_run_length=AVERAGE_RUN_LENGTH, class_count=2)
    of_all = of_tags = 0
    for seed in range(streams):
        seen, drawn = labels(seed, RUN, shape=shape), values(seed, RUN)
        of_all += alarms(seen, TAGS.of_everything(settings))
        for key, count in VALUES.items():
            of_value = TAGS.of_slice(settings, slice_of(f"{key}=x"))
            of_tags += sum(
                alarms(chosen(seen, drawn[key] == value), of_value) for value in range(count)
            )
    return of_all, of_tags


def delay(seed: int, *, shape: str, gap: float) -> tuple[float, float]:
    """Labels from the change of a site by `gap` to its alarm and to that of all; infinity: none."""
    n, settings = BEFORE + AFTER, DriftSettings(class_count=2)
    seen, site = labels(seed, n, shape=shape), values(seed, n)["site"] == SMALL_SITE - 1
    rng = np.random.default_rng((seed, 2))
    hit = site & (np.arange(n) >= BEFORE)
    seen = replace(seen, correct=np.where(hit, rng.random(n) < seen.confidence - gap, seen.correct))
    of_site = TAGS.of_slice(settings, slice_of("site=x"))
    before = int(site[:BEFORE].sum())
    return (
        _after(chosen(seen, site), of_site, before),
        _after(seen, TAGS.of_everything(settings), BEFORE),
    )


def _after(seen: Labels, settings: DriftSettings, before: int) -> float:
    raised = DriftDetector(settings).update_many(seen.confidence, seen.correct, seen.predicted)
    return np.inf if raised is None or raised < before else raised - before + 1


def tags(*, streams: int) -> Iterator[dict[str, Any]]:
    """False alarms of calibrated streams and what the promise allows, then delays."""
    for shape in SHAPES:
        of_all, of_tags = false_alarms(shape=shape, streams=streams)
        allowed = streams * RUN / AVERAGE_RUN_LENGTH
        yield {"shape": shape, "of all": of_all, "of tags": of_tags, "allowed": allowed}
    few = max(streams // 5, min(streams, 10))
    for shape in SHAPES:
        for gap in (0.1, 0.2):
            pairs = [delay(seed, shape=shape, gap=gap) for seed in range(1000, 1000 + few)]
            row: dict[str, Any] = {"shape": shape, "gap": gap, "streams": few}
            for name, delays in zip(("site", "all"), zip(*pairs, strict=True), strict=True):
                median = float(np.median(delays))
                row[f"found by {name}"] = int(np.isfinite(delays).sum())
                row[f"labels of {name}"] = median if np.isfinite(median) else None
            yield row
