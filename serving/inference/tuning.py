"""Measuring the machine: how many threads, spinning or not, and how large a batch, for one model, in some ten seconds.

Throughput decides: of what is within 3 % of the best, the fewest threads that do not spin and the smallest batch, since
they leave most to others and answer soonest.
"""

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from model_store.bundle import Bundle
from serving.inference.predictor import Predictor
from serving.settings import Device, Settings

BATCHES: Final = (1, 4, 8, 16, 32)
GOOD_ENOUGH: Final = 0.97


@dataclass(frozen=True, slots=True)
class TuningResult:
    """One way to run the model, and the images per second that it gave."""

    threads: int
    spinning: bool
    batch: int
    images_per_s: float


def tune(bundle: Bundle, *, seconds: float = 10.0, device: Device = "auto") -> list[TuningResult]:
    """Every way that was tried, the chosen one first. Raises ModelUnusable."""
    ways = list(itertools.product(_thread_counts(), (False, True)))
    slice_s = seconds / len(ways) / len(BATCHES)
    trials = [
        TuningResult(threads, spinning, batch, rate)
        for threads, spinning in ways
        for batch, rate in _rates(Predictor(bundle, threads=threads, spinning=spinning, device=device), slice_s)
    ]
    chosen = choose(trials)
    return [chosen, *(trial for trial in trials if trial is not chosen)]


def choose(trials: Sequence[TuningResult]) -> TuningResult:
    """The most modest of the trials that are as good as the best.

    >>> one, two = TuningResult(1, False, 4, 98.0), TuningResult(2, True, 16, 100.0)
    >>> choose([one, two]) is one, choose([one, TuningResult(2, False, 8, 110.0)]).threads
    (True, 2)
    """
    best = max(trial.images_per_s for trial in trials)
    good = [trial for trial in trials if trial.images_per_s >= GOOD_ENOUGH * best]
    return min(good, key=lambda trial: (trial.spinning, trial.threads, trial.batch))


def tuned(settings: Settings, trial: TuningResult) -> Settings:
    """The settings with what was chosen."""
    chosen = {"threads": trial.threads, "spinning": trial.spinning, "max_batch": trial.batch}
    return settings.model_copy(update=chosen)


def _thread_counts() -> list[int]:
    """1, 2, 4, ... and the number of cores that this process may use."""
    cores = len(os.sched_getaffinity(0))
    return sorted({*(2**power for power in range(cores.bit_length()) if 2**power <= cores), cores})


def _rates(predictor: Predictor, seconds: float) -> Iterator[tuple[int, float]]:
    """Batch size and images per second, each measured for `seconds`, at least two runs."""
    shape = predictor.card.input
    for batch in BATCHES:
        images = np.zeros((batch, shape.channels, shape.height, shape.width), np.uint8)
        predictor.predict(images)
        runs, started_s = 0, time.perf_counter()
        while runs < 2 or time.perf_counter() - started_s < seconds:
            predictor.predict(images)
            runs += 1
        yield batch, runs * batch / (time.perf_counter() - started_s)
