"""Looking often: how often a perfect model gets each finding in 250 daily looks, how soon a drop
of accuracy is found, and where the evidence of calm streams stands.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.monitoring.streams import SHAPES, labels
from calibration.bins import BinSums
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from calibration.intervals.confidence_sequence import gap_sequence
from calibration.measures.summary import Measures
from monitoring.findings.accuracy import AccuracyAnswer, LabeledDay, judge_accuracy
from monitoring.findings.comparison import compare
from monitoring.findings.status import Status, assess

DAYS, PER_DAY, REFERENCE = 250, 20, 500
WINDOW = 30  # days
MARKS = (30, 100, 300, 1_000, 5_000, 20_000)


def daily_looks(*, shape: str, models: int) -> dict[str, float]:
    """Share of perfect models for which each finding appears at least once in the daily looks."""
    seen: Counter[str] = Counter()
    for seed in range(models):
        seen.update(_findings_of(seed, shape))
    return {"shape": shape, "models": models} | {
        name: count / models for name, count in sorted(seen.items())
    }


def _findings_of(seed: int, shape: str) -> set[str]:
    stream, card = (
        labels(seed, DAYS * PER_DAY, shape=shape),
        labels(10**6 + seed, REFERENCE, shape=shape),
    )
    reference = BinSums.from_predictions(card.confidence, card.correct)
    days = [stream[day * PER_DAY : (day + 1) * PER_DAY] for day in range(DAYS)]
    found: set[str] = set()
    for day in range(1, DAYS + 1):
        every, recent = (
            stream[: day * PER_DAY],
            stream[max(0, day - WINDOW) * PER_DAY : day * PER_DAY],
        )
        for name, part in (("all", every), (f"{WINDOW} days", recent)):
            sums = BinSums.from_predictions(part.confidence, part.correct)
            if assess(Measures.from_sums(sums)).status is Status.OFF:
                found.add(f"status off, {name}")
            if name == "all":
                found.update(_of_all(sums, reference))
        counts = [
            LabeledDay(at, PER_DAY, float(each.correct.sum()), PER_DAY)
            for at, each in enumerate(days[:day])
        ]
        if judge_accuracy(counts, reference).answer in (
            AccuracyAnswer.LOWER,
            AccuracyAnswer.HIGHER,
        ):
            found.add("accuracy lower or higher")
    return found


def _of_all(sums: BinSums, reference: BinSums) -> Iterator[str]:
    if compare(sums, reference).signed_gap.significant:
        yield "gap against card"
    lower, upper = gap_sequence(
        sums.total, -float(sums.difference.sum()), float(sums.squared_error.sum())
    )
    if lower > 0 or upper < 0:
        yield "gap at every look"


def calm_evidence(*, shape: str, streams: int) -> dict[int, list[float]]:
    """Evidence of calibrated streams as a share of what an alarm takes: quantiles .05, .5 and .95
    by labels.
    """
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
    """Median labels until a drop from `was` to `now` is found, 20 labels a day, after so many
    labels without one.
    """
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
            if judge_accuracy(days, reference).answer is AccuracyAnswer.LOWER:
                delay = (day - start + 1) * PER_DAY
                break
        delays.append(delay)
    return float(np.median(delays))


def looking(*, models: int) -> Iterator[dict[str, Any]]:
    """Run all three."""
    for shape in SHAPES:
        yield daily_looks(shape=shape, models=models)
        yield {"shape": shape, "calm evidence": calm_evidence(shape=shape, streams=models)}
    for now in (0.63, 0.72):
        for before in (0, 2_000):
            labels_taken = accuracy_delay(now=now, models=models, before=before)
            yield {"accuracy 0.82 to": now, "after": before, "labels": labels_taken}
