"""The sign for changed predictions: false alarms, days until a change is noticed, a real shift."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calibration.bins import BIN_COUNT, FloatArray, IntArray, bin_index
from calibration.calibrators.temperature import apply_temperature, fit_temperature, softmax
from calibration.drift.answer_drift import AnswerDrift, count_answers, follow
from calibration.measures.metrics import top_label

DAYS, A_DAY = 250, 100
CLASSES = (2, 5)
CHANGES = ({"shift": 1.0}, {"shift": 0.5}, {"scale": 0.7}, {"scale": 1.4})
ORDERS = 20


def stream(
    seed: int, *, classes: int, reference: int, days: int = DAYS, after: int = 0, **change: float
) -> AnswerDrift:
    """Follow A_DAY predictions a day that change after some days; a reference of 0 is none."""
    rng = np.random.default_rng(seed)
    known = (
        _drawn(rng, reference, classes)
        if reference
        else np.zeros((classes, BIN_COUNT), dtype=np.int64)
    )
    each_day = (
        (day, _drawn(rng, A_DAY, classes, **(change if day >= after else {})))
        for day in range(days)
    )
    return follow(known, each_day, seed=str(seed))


def answer_changes(*, streams: int, predictions: Path | None) -> Iterator[dict[str, Any]]:
    """Unchanged streams, then changed ones, then the real shift."""
    for classes in CLASSES:
        for reference in (0, 100, 500):
            runs = [stream(s, classes=classes, reference=reference) for s in range(streams)]
            raised = sum(run.raised_on is not None for run in runs)
            found = {"classes": classes, "reference": reference}
            yield found | {"calm streams": streams, "raised": raised}
    for classes in CLASSES:
        for reference, after in ((500, 0), (500, 60), (0, 60)):
            for change in CHANGES:
                yield _noticed(min(streams, 20), classes, reference, after, change)
    if predictions:
        yield from real_shift(predictions)


def _noticed(
    streams: int, classes: int, reference: int, after: int, change: dict[str, float]
) -> dict[str, Any]:
    """In how many streams a change is noticed within 60 days, and the median of the days."""
    sizes: dict[str, Any] = {"classes": classes, "reference": reference}
    runs = [stream(s, days=after + 60, after=after, **sizes, **change) for s in range(streams)]
    days = [run.raised_on for run in runs if run.raised_on is not None]
    late = [day - after + 1 for day in days if day >= after]
    median = float(np.median(late)) if late else None
    found = {"change": change, "on day": after, "noticed": len(late), "streams": streams}
    return sizes | found | {"median days": median}


def real_shift(predictions: Path) -> Iterator[dict[str, Any]]:
    """PneumoniaMNIST: half of validation as reference, then the other half, or the test split."""
    data = np.load(predictions)
    temperature = fit_temperature(data["val_logits"], data["val_labels"])
    p = {name: apply_temperature(data[f"{name}_logits"], temperature) for name in ("val", "test")}
    runs: dict[str, list[AnswerDrift]] = {"validation": [], "test": []}
    for order in range(ORDERS):
        rng = np.random.default_rng(order)
        val, test = rng.permutation(p["val"]), rng.permutation(p["test"])
        known, rest = np.split(val, 2)
        for name, seen in (("validation", rest), ("test", test)):
            starts = range(0, len(seen), A_DAY)
            days = [
                (day, _counted(seen[start : start + A_DAY])) for day, start in enumerate(starts)
            ]
            runs[name].append(follow(_counted(known), days, seed=str(order)))
    for name, followed in runs.items():
        raised = sum(run.raised_on is not None for run in followed)
        evidence = float(np.median([run.log_evalue for run in followed]))
        yield {"split": name, "raised": raised, "orders": ORDERS, "median log evidence": evidence}


def _drawn(
    rng: np.random.Generator, n: int, classes: int, *, shift: float = 0.0, scale: float = 1.0
) -> IntArray:
    """Counts of n predictions whose logits deviate by 2 * `scale`; `shift` is added to class 1."""
    logits = 2 * scale * rng.normal(size=(n, classes))
    logits[:, 1] += shift
    return _counted(softmax(logits))


def _counted(p: FloatArray) -> IntArray:
    confidence, predicted = top_label(p)
    return count_answers(predicted, bin_index(confidence), p.shape[1])
