"""Drift watches of tags: the one promise that all alarms share, and what it costs to find one site
that is off.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

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
_NO_TAGS = TagSettings()
IntArray = npt.NDArray[np.int64]


class Delay(NamedTuple):
    """Labels from the change to an alarm, of the site and of all; infinity if there was none."""

    of_site: float
    of_all: float


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


def false_alarms(*, shape: str, streams: int, average_run_length: float) -> tuple[int, int]:
    """Count the false alarms of calibrated streams: of all answers, and of tags."""
    settings = DriftSettings(average_run_length=average_run_length, class_count=2)
    of_all = of_tags = 0
    for seed in range(streams):
        seen, tags = labels(seed, RUN, shape=shape), values(seed, RUN)
        of_all += alarms(seen, TAGS.of_everything(settings))
        for key, count in VALUES.items():
            of_value = TAGS.of_slice(settings, slice_of(f"{key}=x"))
            of_tags += sum(
                alarms(chosen(seen, tags[key] == value), of_value) for value in range(count)
            )
    return of_all, of_tags


def delay(seed: int, *, shape: str, gap: float, tags: TagSettings) -> Delay:
    """How long until one site is found, whose answers become overconfident by `gap`."""
    n, settings = BEFORE + AFTER, DriftSettings(class_count=2)
    seen, site = labels(seed, n, shape=shape), values(seed, n)["site"] == SMALL_SITE - 1
    rng = np.random.default_rng((seed, 2))
    hit = site & (np.arange(n) >= BEFORE)
    seen = replace(seen, correct=np.where(hit, rng.random(n) < seen.confidence - gap, seen.correct))
    whole = DriftDetector(tags.of_everything(settings)).update_many(
        seen.confidence, seen.correct, seen.predicted
    )
    of_all = np.inf if whole is None or whole < BEFORE else whole - BEFORE + 1
    if not tags.keys:
        return Delay(np.inf, of_all)
    part = chosen(seen, site)
    raised = DriftDetector(tags.of_slice(settings, slice_of("site=x"))).update_many(
        part.confidence, part.correct, part.predicted
    )
    before = int(site[:BEFORE].sum())
    return Delay(np.inf if raised is None or raised < before else raised - before + 1, of_all)


def promises(*, streams: int) -> Iterator[str]:
    """Lines of a table: false alarms of calibrated streams, and what the promise allows."""
    for average_run_length in (1e3, 1e5):
        for shape in SHAPES:
            of_all, of_tags = false_alarms(
                shape=shape, streams=streams, average_run_length=average_run_length
            )
            allowed = streams * RUN / average_run_length
            cells = (of_all, of_tags, of_all + of_tags, f"{allowed:,.0f}")
            yield f"| {average_run_length:,.0f} | {shape} | {' | '.join(map(str, cells))} |"


def delays(*, streams: int) -> Iterator[str]:
    """Lines of a table: medians of the labels of the site until it is found, and of all labels."""
    for shape in SHAPES:
        for gap in (0.1, 0.2):
            seeds = range(1000, 1000 + streams)
            with_tags = [delay(seed, shape=shape, gap=gap, tags=TAGS) for seed in seeds]
            without = [delay(seed, shape=shape, gap=gap, tags=_NO_TAGS).of_all for seed in seeds]
            site, whole = [each.of_site for each in with_tags], [each.of_all for each in with_tags]
            cells = [
                f"{_median(each)} ({np.isfinite(each).sum()} of {streams})"
                for each in (site, whole, without)
            ]
            yield f"| {shape} | {gap:.2f} | {' | '.join(cells)} |"


def _median(found: list[float]) -> str:
    median = float(np.median(found))
    return f"{median:,.0f}" if np.isfinite(median) else "-"
