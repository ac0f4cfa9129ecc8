"""The sign for changed answers: false alarms over a year, days until a change is noticed, and the
real shift.
"""

from pathlib import Path
from typing import Any

import numpy as np

from calibration.bins import BIN_COUNT, FloatArray, IntArray, bin_index
from calibration.calibrators.temperature import apply_temperature, fit_temperature
from calibration.drift.answer_drift import AnswerDrift, count_answers, follow
from calibration.measures.metrics import top_label

DAYS, A_DAY = 250, 100
CLASSES = (2, 5)


def answers(
    rng: np.random.Generator, n: int, classes: int, *, shift: float = 0.0, scale: float = 1.0
) -> IntArray:
    """Counts of n answers whose logits have a standard deviation of 2, times `scale`; `shift` is
    added to class 1.
    """
    logits = 2 * scale * rng.normal(size=(n, classes))
    logits[:, 1] += shift
    return _counted(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def stream(
    seed: int, *, classes: int, reference: int, days: int = DAYS, after: int = 0, **change: float
) -> AnswerDrift:
    """Follow a stream of A_DAY answers a day that changes after some days; a reference of 0 is
    none.
    """
    rng = np.random.default_rng(seed)
    known = (
        answers(rng, reference, classes)
        if reference
        else np.zeros((classes, BIN_COUNT), dtype=np.int64)
    )
    each = (
        (day, answers(rng, A_DAY, classes, **(change if day >= after else {})))
        for day in range(days)
    )
    return follow(known, each, seed=str(seed))


def calm(*, streams: int) -> dict[str, int]:
    """How many unchanged streams ever raise the sign, by classes and size of the reference."""
    return {
        f"{classes} classes, reference {reference}": sum(
            stream(seed, classes=classes, reference=reference).raised_on is not None
            for seed in range(streams)
        )
        for classes in CLASSES
        for reference in (0, 100, 500)
    }


def fitted_on_reference(*, streams: int) -> int:
    """The same where the reference also fitted the temperature, as validation does: a slight breach
    of the promise.
    """
    raised = 0
    for seed in range(streams):
        rng = np.random.default_rng(seed)
        logits = 4 * rng.normal(size=(500 + DAYS * A_DAY, 2))
        truth = (
            rng.random(len(logits)) < 1 / (1 + np.exp((logits[:, 0] - logits[:, 1]) / 1.5))
        ).astype(np.int64)
        p = apply_temperature(logits, fit_temperature(logits[:500], truth[:500]))
        days = [(day, _counted(part)) for day, part in enumerate(np.split(p[500:], DAYS))]
        raised += follow(_counted(p[:500]), days, seed=str(seed)).raised_on is not None
    return raised


def delays(*, streams: int) -> dict[str, Any]:
    """Days until a change is noticed: how many streams of 60 days after it, and the median of
    those.
    """
    found: dict[str, Any] = {}
    changes = ({"shift": 1.0}, {"shift": 0.5}, {"scale": 0.7}, {"scale": 1.4})
    for classes in CLASSES:
        for reference, after in ((500, 0), (500, 60), (0, 60)):
            for change in changes:
                runs = [
                    stream(
                        seed,
                        classes=classes,
                        reference=reference,
                        days=after + 60,
                        after=after,
                        **change,
                    ).raised_on
                    for seed in range(streams)
                ]
                late = [day - after + 1 for day in runs if day is not None and day >= after]
                key = f"{classes} classes, reference {reference}, change on day {after}: {change}"
                found[key] = {
                    "noticed": len(late),
                    "of": streams,
                    "median days": float(np.median(late or [np.nan])),
                }
    return found


def real_shift(predictions: Path, *, orders: int = 20) -> dict[str, Any]:
    """PneumoniaMNIST: half of validation as reference, then the other half, or the test split, 100
    answers a day.
    """
    data = np.load(predictions)
    temperature = fit_temperature(data["val_logits"], data["val_labels"])
    p = {name: apply_temperature(data[f"{name}_logits"], temperature) for name in ("val", "test")}
    runs: dict[str, list[AnswerDrift]] = {
        "validation": [],
        "test": [],
        "test, all of validation as reference": [],
    }
    for order in range(orders):
        rng = np.random.default_rng(order)
        val, test = rng.permutation(p["val"]), rng.permutation(p["test"])
        for name, (known, seen) in zip(
            runs, ((val[:262], val[262:]), (val[:262], test), (val, test)), strict=True
        ):
            days = [
                (day, _counted(seen[100 * day : 100 * day + 100]))
                for day in range(-(-len(seen) // 100))
            ]
            runs[name].append(follow(_counted(known), days, seed=str(order)))
    return {
        name: {
            "raised": sum(each.raised_on is not None for each in found),
            "median log evidence": float(np.median([each.log_evalue for each in found])),
            "kinds": sorted({each.kind for each in found if each.raised_on is not None}),
        }
        for name, found in runs.items()
    }


def _counted(p: FloatArray) -> IntArray:
    confidence, predicted = top_label(p)
    return count_answers(predicted, bin_index(confidence), p.shape[1])


def as_rows(*, streams: int, predictions: Path | None) -> dict[str, Any]:
    """All figures."""
    found: dict[str, Any] = {
        "calm": calm(streams=streams),
        "fitted on reference": fitted_on_reference(streams=streams),
    }
    found["delays"] = delays(streams=min(streams, 20))
    return found | ({"real": real_shift(predictions)} if predictions else {})
