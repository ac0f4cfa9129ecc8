"""How soon a daily look finds a drop of accuracy, and where the evidence of calm streams stands."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.monitoring.streams import SHAPES, labels
from calibration.bins import BinSums
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from monitoring.diagnosis.accuracy import LabeledDay, judge
from monitoring.diagnosis.facts import AccuracyAnswer

PER_DAY, REFERENCE = 20, 500
MARKS = (30, 100, 300, 1_000, 5_000, 20_000)


def calm_evidence(*, shape: str, streams: int) -> dict[int, list[float]]:
    """Evidence of calibrated streams as a share of an alarm's: quantiles .05, .5, .95 by labels."""
    shares = []
    for seed in range(streams):
        stream, detector, row = (
            labels(seed, MARKS[-1], shape=shape),
            DriftDetector(DriftSettings(class_count=2)),
            [],
        )
        for start, stop in zip((0, *MARKS), MARKS, strict=False):
            part = stream[start:stop]
            detector.update_many(part.confidence, part.correct, part.predicted)
            row.append(max(0.0, detector.log_evalue) / detector.log_threshold)
        shares.append(row)
    quantiles = np.quantile(np.array(shares), [0.05, 0.5, 0.95], axis=0)
    return {mark: quantiles[:, at].round(3).tolist() for at, mark in enumerate(MARKS)}


def accuracy_delay(*, now: float, models: int, before: int = 0, was: float = 0.82) -> float:
    """Median labels until a drop from `was` to `now` is found, after so many without one."""
    delays = []
    for seed in range(models):
        rng = np.random.default_rng(seed)
        reference = BinSums.from_predictions(np.full(REFERENCE, was), rng.random(REFERENCE) < was)
        days = [
            LabeledDay(day, PER_DAY, float(rng.binomial(PER_DAY, was)), PER_DAY)
            for day in range(before // PER_DAY)
        ]
        start, delay = len(days), math.inf
        for day in range(start, start + 150):
            days.append(LabeledDay(day, PER_DAY, float(rng.binomial(PER_DAY, now)), PER_DAY))
            if judge(days, reference)[0] is AccuracyAnswer.LOWER:
                delay = (day - start + 1) * PER_DAY
                break
        delays.append(delay)
    return float(np.median(delays))


def looking(*, models: int) -> Iterator[dict[str, Any]]:
    """Run both."""
    for shape in SHAPES:
        yield {"shape": shape, "calm evidence": calm_evidence(shape=shape, streams=models)}
    for now in (0.63, 0.72):
        for before in (0, 2_000):
            labels_taken = accuracy_delay(now=now, models=models, before=before)
            yield {"accuracy 0.82 to": now, "after": before, "labels": labels_taken}
