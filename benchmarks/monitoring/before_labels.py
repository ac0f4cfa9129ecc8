"""Estimated performance against what labels show: simulated streams, and the real shift."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.calibrators.temperature import apply_temperature, fit_temperature, softmax
from calibration.measures.confusion import class_rates, confusion_matrix
from calibration.measures.expected_confusion import (
    ExpectedConfusion,
    LabeledSums,
    ProbabilitySums,
    RateEstimate,
    expected_confusion,
    recalibrated,
)

ORDERS = 20
ANSWERS, REFERENCE, LABELS = 2_000, 500, 300


def covered(*, streams: int, classes: int, sharpness: float) -> dict[str, float]:
    """How often the 95 % intervals hold what labels show, over all rates: from confidence alone,
    and corrected.

    `sharpness` 1 is calibrated; above, log-odds are multiplied by it. The reference is of the same
    model, and 300 labels of other answers correct it.
    """
    rng = np.random.default_rng(7)
    alone, corrected, errors = [], [], []
    for _ in range(streams):
        p, labels = _drawn(rng, ANSWERS + LABELS, classes, sharpness)
        reference, _ = _drawn(rng, REFERENCE, classes, sharpness)
        known = np.bincount(reference.argmax(axis=1), minlength=classes)
        labeled = LabeledSums.from_predictions(p[:LABELS], labels[:LABELS])
        served, truth = (
            ProbabilitySums.from_probabilities(p[LABELS:]),
            confusion_matrix(p[LABELS:], labels[LABELS:]),
        )
        expected, better = (
            expected_confusion(served, reference=known),
            recalibrated(served, labeled),
        )
        alone.append(
            [rate.lower <= shown <= rate.upper for _, rate, shown in _beside(expected, truth)]
        )
        if better is not None:
            found = list(_beside(better, truth))
            corrected.append([rate.lower <= shown <= rate.upper for _, rate, shown in found])
            errors.append([expected.accuracy.value - found[0][2], found[0][1].value - found[0][2]])
    mean = np.mean(errors, axis=0)
    return {
        "alone": float(np.mean(alone)),
        "corrected": float(np.mean(corrected)),
        "bias alone": float(mean[0]),
        "bias corrected": float(mean[1]),
    }


def before_labels(*, streams: int, predictions: Path | None) -> Iterator[dict[str, Any]]:
    """Simulated streams, then the real shift."""
    for classes in (2, 5):
        for sharpness in (1.0, 1.5, 2.5):
            found = covered(streams=streams, classes=classes, sharpness=sharpness)
            yield {"classes": classes, "sharpness": sharpness} | found
    if predictions:
        yield from real_shift(predictions)


def real_shift(predictions: Path) -> Iterator[dict[str, Any]]:
    """A calibrated run, estimated on the test split: from confidence, and after half its labels."""
    data = np.load(predictions)
    temperature = fit_temperature(data["val_logits"], data["val_labels"])
    splits = {
        name: (apply_temperature(data[f"{name}_logits"], temperature), data[f"{name}_labels"])
        for name in ("val", "test")
    }
    known = np.bincount(splits["val"][0].argmax(axis=1), minlength=data["val_logits"].shape[1])
    for split, (p, labels) in splits.items():
        expected = expected_confusion(ProbabilitySums.from_probabilities(p), reference=known)
        for name, rate, shown in _beside(expected, confusion_matrix(p, labels)):
            yield {"split": split, "rate": name, **asdict(rate), "shown": shown}
    yield from _halves(*splits["test"])


def _halves(p: FloatArray, labels: IntArray) -> Iterator[dict[str, Any]]:
    """Half of the labels correct the estimate for the other half: mean error and coverage."""
    found: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for order in range(ORDERS):
        one, other = np.array_split(np.random.default_rng(order).permutation(len(p)), 2)
        better = recalibrated(
            ProbabilitySums.from_probabilities(p[other]),
            LabeledSums.from_predictions(p[one], labels[one]),
        )
        if better is not None:
            for name, rate, shown in _beside(better, confusion_matrix(p[other], labels[other])):
                found[name].append((rate.value - shown, rate.lower <= shown <= rate.upper))
    for name, pairs in found.items():
        error, inside = np.mean(pairs, axis=0).tolist()
        yield {"split": "half of test", "rate": name, "error": error, "inside": inside}


def _beside(found: ExpectedConfusion, truth: IntArray) -> Iterator[tuple[str, RateEstimate, float]]:
    """Each estimated rate with what labels show."""
    rates = class_rates(truth)
    yield "accuracy", found.accuracy, float(truth.trace() / truth.sum())
    for index, (rate, shown) in enumerate(zip(found.sensitivity, rates.sensitivity, strict=True)):
        yield f"sensitivity {index}", rate, float(shown)


def _drawn(
    rng: np.random.Generator, n: int, classes: int, sharpness: float
) -> tuple[FloatArray, IntArray]:
    p = softmax(2 * rng.normal(size=(n, classes)))
    labels = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1)
    sharp = p**sharpness
    return sharp / sharp.sum(axis=1, keepdims=True), labels
