"""Finds the number of threads, spinning and the largest batch for a model by measurement, in about
ten seconds.

Throughput decides. Among combinations within 3 % of the best, it takes the fewest threads, without
spinning, and the smallest batch, because that leaves most resources to others and answers soonest.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from model_store.bundle.bundle import Bundle
from model_store.installation import usable_cores
from serving.inference.predictor import Predictor
from serving.setting_table import Device
from serving.settings import Settings

BATCHES: Final = (1, 4, 8, 16, 32)
GOOD_ENOUGH: Final = 0.97


@dataclass(frozen=True, slots=True)
class TuningResult:
    """A combination of options and its throughput."""

    threads: int
    spinning: bool
    batch: int
    images_per_s: float


def tune(bundle: Bundle, *, seconds: float = 10.0, device: Device = "auto") -> list[TuningResult]:
    """All results, the chosen one first. Raises ModelUnusable."""
    combinations = list(itertools.product(_thread_counts(), (False, True)))
    slice_s = seconds / len(combinations) / len(BATCHES)
    results = [
        TuningResult(threads, spinning, batch, rate)
        for threads, spinning in combinations
        for batch, rate in _rates(
            Predictor(bundle, threads=threads, spinning=spinning, device=device), slice_s
        )
    ]
    chosen = choose(results)
    return [chosen, *(result for result in results if result is not chosen)]


def choose(results: Sequence[TuningResult]) -> TuningResult:
    """The result with the least use of resources among those as good as the best.

    >>> one, two = TuningResult(1, False, 4, 98.0), TuningResult(2, True, 16, 100.0)
    >>> choose([one, two]) is one, choose([one, TuningResult(2, False, 8, 110.0)]).threads
    (True, 2)
    """
    best = max(result.images_per_s for result in results)
    good = [result for result in results if result.images_per_s >= GOOD_ENOUGH * best]
    return min(good, key=lambda result: (result.spinning, result.threads, result.batch))


def tuned(settings: Settings, result: TuningResult) -> Settings:
    """The settings with the options of `result`."""
    chosen = {"threads": result.threads, "spinning": result.spinning, "max_batch": result.batch}
    return settings.model_copy(update=chosen)


def _thread_counts() -> list[int]:
    """1, 2, 4, ... and the number of cores available to this process."""
    cores = usable_cores()
    return sorted({*(2**power for power in range(cores.bit_length()) if 2**power <= cores), cores})


def _rates(predictor: Predictor, seconds: float) -> Iterator[tuple[int, float]]:
    """Batch sizes and images per second, each of `seconds` and at least two runs."""
    shape = predictor.card.input
    for batch in BATCHES:
        images = np.zeros((batch, shape.channels, shape.height, shape.width), np.uint8)
        predictor.predict(images)
        runs, started_s = 0, time.perf_counter()
        while runs < 2 or time.perf_counter() - started_s < seconds:
            predictor.predict(images)
            runs += 1
        yield batch, runs * batch / (time.perf_counter() - started_s)
