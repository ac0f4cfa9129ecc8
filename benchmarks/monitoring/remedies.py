"""Recalibration on simulated shifts: how often it helps, harms or refuses, beside a temperature on all labels."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from calibration.affine import Affine
from calibration.metrics import nll, top_label
from calibration.remedies import CASE_MIX, REMEDIES, TEMPERATURE, choose
from calibration.temperature import softmax

FloatArray = npt.NDArray[np.float64]
FRESH = 20_000  # answers on which the truth is measured
NOTICEABLE = 0.001  # nats per answer
FIT_SHARE = 0.6  # as in monitoring/recalibration/proposal.py


@dataclass(frozen=True)
class Shift:
    """The truth is softmax(weight * logits + bias), where the model says softmax(logits)."""

    weight: FloatArray
    bias: FloatArray

    def answers(self, rng: np.random.Generator, count: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """Draw logits (count, K) and labels (count,)."""
        logits = rng.normal(0, 2, (count, len(self.bias)))
        truth = softmax(self.weight * logits + self.bias)
        return logits, (truth.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)


KINDS: dict[str, Callable[[np.random.Generator, int], Shift]] = {
    "nothing": lambda rng, k: Shift(np.ones(k), np.zeros(k)),
    "overconfidence": lambda rng, k: Shift(np.full(k, rng.uniform(0.4, 0.8)), np.zeros(k)),
    "case mix": lambda rng, k: Shift(np.ones(k), rng.normal(0, 0.8, k)),
    "opposite classes": lambda rng, k: Shift(np.full(k, rng.uniform(0.4, 0.8)), rng.normal(0, 0.8, k)),
}


@dataclass(frozen=True)
class Row:
    """One kind of shift and number of labels. NLL are means over the shifts, in nats, measured on fresh answers."""

    kind: str
    labels: int
    method: str
    shifts: int
    helps: int
    harms: int
    refuses: int
    nll_before: float
    nll_after: float
    class_gap_before: float
    class_gap_after: float


def remedy(logits: FloatArray, labels: npt.NDArray[np.int64], *, changes: bool) -> Affine | None:
    """Choose and fit as `candor recalibrate` does, for a card without a confusion matrix; None where it refuses."""
    fit = np.arange(len(labels)) < FIT_SHARE * len(labels)
    excluded = {CASE_MIX.name: "the card has no confusion matrix"}
    found = choose(logits, labels, allow_label_changes=changes, exclude=excluded)
    return REMEDIES[found.chosen].fit(logits[fit], labels[fit]) if found.chosen else None


METHODS: dict[str, Callable[[FloatArray, npt.NDArray[np.int64]], Affine | None]] = {
    "temperature on all labels": TEMPERATURE.fit,
    "recalibrate": lambda logits, labels: remedy(logits, labels, changes=False),
    "recalibrate --allow-label-changes": lambda logits, labels: remedy(logits, labels, changes=True),
}


def simulate(*, shifts: int = 200, seed: int = 0) -> list[Row]:
    """Every kind of shift with 100, 300 and 1,000 labels, of 2, 3 or 5 classes in turn."""
    rows = []
    for kind, make in KINDS.items():
        for labels in (100, 300, 1000):
            figures: dict[str, list[tuple[float, float, float, float, bool]]] = {name: [] for name in METHODS}
            for number in range(shifts):
                rng = np.random.default_rng([seed, labels, number])
                shift = make(rng, (2, 3, 5)[number % 3])
                seen, fresh = shift.answers(rng, labels), shift.answers(rng, FRESH)
                before = (nll(softmax(fresh[0]), fresh[1]), _class_gap(softmax(fresh[0]), fresh[1]))
                for name, method in METHODS.items():
                    fitted = method(*seen)
                    after = before
                    if fitted is not None:
                        p = fitted(fresh[0])
                        after = (nll(p, fresh[1]), _class_gap(p, fresh[1]))
                    figures[name].append((before[0], after[0], before[1], after[1], fitted is None))
            rows += [_row(kind, labels, name, np.array(each, dtype=float)) for name, each in figures.items()]
            print(*map(line, rows[-len(METHODS) :]), sep="\n", flush=True)
    return rows


def line(row: Row) -> str:
    """One line of a Markdown table."""
    counts = f"{row.helps} | {row.harms} | {row.refuses}"
    figures = f"{row.nll_before:.3f} -> {row.nll_after:.3f} | {row.class_gap_before:.3f} -> {row.class_gap_after:.3f}"
    return f"| {row.kind} | {row.labels} | {row.method} | {counts} | {figures} |"


def as_rows(*, shifts: int) -> list[dict[str, object]]:
    """The rows as plain data."""
    return [asdict(row) for row in simulate(shifts=shifts)]


def _row(kind: str, labels: int, method: str, figures: FloatArray) -> Row:
    change = figures[:, 1] - figures[:, 0]
    means = [float(value) for value in figures[:, :4].mean(axis=0)]
    helps, harms = int((change < -NOTICEABLE).sum()), int((change > NOTICEABLE).sum())
    return Row(kind, labels, method, len(figures), helps, harms, int(figures[:, 4].sum()), *means)


def _class_gap(probabilities: FloatArray, labels: npt.NDArray[np.int64]) -> float:
    """Largest |confidence - accuracy| of the answers of one class that make up 2 % of all."""
    confidence, predicted = top_label(probabilities)
    counts = np.bincount(predicted, minlength=probabilities.shape[1])
    sums = np.bincount(predicted, confidence - (predicted == labels), minlength=probabilities.shape[1])
    enough = counts >= 0.02 * len(labels)
    return float(np.abs(sums[enough] / counts[enough]).max())
