"""The real shift: PneumoniaMNIST's validation labels (calibrated) and test labels (not), in random
orders.
"""

from pathlib import Path
from typing import Any

import numpy as np

from calibration.calibrators.temperature import apply_temperature, fit_temperature
from calibration.drift.detector import DriftDetector
from calibration.drift.onset import onset
from calibration.drift.state import DriftSettings
from calibration.measures.metrics import top_label

ORDERS = 20


def figures(predictions: Path, *, orders: int = ORDERS) -> dict[str, Any]:
    """Alarms on the validation and test labels of a run's predictions.npz, and the error of the
    estimated start.
    """
    data = np.load(predictions)
    temperature = fit_temperature(data["val_logits"], data["val_labels"])
    splits = {
        name: _labels(data[f"{name}_logits"], data[f"{name}_labels"], temperature)
        for name in ("val", "test")
    }
    found: dict[str, Any] = {"temperature": temperature, "orders": orders}
    for classes in (0, data["val_logits"].shape[1]):
        named = "with classes" if classes else "stream and bins alone"
        alarms = [_alarm(splits["val"], order, classes)[0] for order in range(orders)]
        tested = [_alarm(splits["test"], order, classes) for order in range(orders)]
        both = [_both(splits, order, classes) for order in range(orders)]
        raised = [alarm for alarm, _ in tested if alarm is not None]
        found[named] = {
            "alarms on validation": sum(alarm is not None for alarm in alarms),
            "alarms on test": len(raised),
            "median label of the alarm": float(np.median(raised)) if raised else None,
            "range": [min(raised), max(raised)] if raised else None,
            "named": {
                name: [stream for _, stream in tested].count(name)
                for name in sorted({s for _, s in tested if s})
            },
            "validation, then test": _summary(both, len(splits["val"][0])),
        }
    return found


def _labels(
    logits: np.ndarray, labels: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidence, predicted = top_label(apply_temperature(logits, temperature))
    return confidence, predicted == labels, predicted


def _alarm(
    split: tuple[np.ndarray, ...], order: int, classes: int
) -> tuple[int | None, str | None]:
    chosen = np.random.default_rng(order).permutation(len(split[0]))
    confidence, correct, predicted = (column[chosen] for column in split)
    detector = DriftDetector(DriftSettings(class_count=classes))
    raised = detector.update_many(confidence, correct, predicted)
    stream = detector.stream
    return (
        (None, None)
        if raised is None or stream is None
        else (raised + 1, f"{stream.kind} {stream.index}")
    )


def _both(
    splits: dict[str, tuple[np.ndarray, ...]], order: int, classes: int
) -> dict[str, int] | None:
    """All validation labels, then test labels until the alarm: the delay and the estimated
    beginning.
    """
    rng = np.random.default_rng(order)
    orders = {name: rng.permutation(len(split[0])) for name, split in splits.items()}
    columns = [
        np.concatenate([splits[name][i][orders[name]] for name in ("val", "test")])
        for i in range(3)
    ]
    detector = DriftDetector(DriftSettings(class_count=classes))
    raised, stream = detector.update_many(*columns), detector.stream
    if raised is None or stream is None:
        return None
    confidence, correct, predicted = (column[: raised + 1] for column in columns)
    kept = (
        np.flatnonzero(predicted == stream.index)
        if stream.kind == "class"
        else np.arange(raised + 1)
    )
    begun = onset(confidence[kept], correct[kept], direction=detector.direction or "over")
    if begun is None:
        return None
    return {"raised": raised} | {
        name: int(kept[getattr(begun, name)]) for name in ("label", "lower", "upper")
    }


def _summary(found: list[dict[str, int] | None], change: int) -> dict[str, float]:
    alarms = [each for each in found if each is not None and each["raised"] >= change]
    if not alarms:
        return {"alarms": 0}
    return {
        "alarms": len(alarms),
        "median delay": float(np.median([each["raised"] + 1 - change for each in alarms])),
        "median error of the beginning": float(
            np.median([each["label"] - change for each in alarms])
        ),
        "median width of its interval": float(
            np.median([each["upper"] - each["lower"] for each in alarms])
        ),
        "interval holds the true one": float(
            np.mean([e["lower"] <= change <= e["upper"] for e in alarms])
        ),
    }
