"""Recalibration on simulated shifts, by what `candor recalibrate` does: how often it helps, harms
or refuses.

Beside it, a temperature fitted on all labels, which always publishes.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.cards import made_up
from calibration.bins import BIN_COUNT, BinSums, bin_index
from calibration.calibrators.affine import Affine
from calibration.calibrators.remedies import TEMPERATURE
from calibration.calibrators.temperature import softmax
from calibration.measures.confusion import confusion_matrix
from calibration.measures.metrics import nll, top_label
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from monitoring.errors import RecalibrationRefused
from monitoring.recalibration.answers import LabeledAnswers
from monitoring.recalibration.proposal import propose
from monitoring.recalibration.representative import LabeledShare, compare_shares, shares_by_bin

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
FRESH = 20_000  # answers on which the truth is measured
REFERENCE = 1_000  # answers behind the card
NOTICEABLE = 0.001  # nats per answer
LABELS = (100, 300, 1000)
UNLABELED = 4  # answers without a label for each one with, where labels are chosen


@dataclass(frozen=True)
class Shift:
    """The truth is softmax(weight * logits + bias), where the model says softmax(logits)."""

    weight: FloatArray
    bias: FloatArray

    def answers(self, rng: np.random.Generator, count: int) -> tuple[FloatArray, IntArray]:
        """Draw logits (count, K) and labels (count,)."""
        logits = rng.normal(0, 2, (count, len(self.bias)))
        truth = softmax(self.weight * logits + self.bias)
        return logits, (truth.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)


@dataclass(frozen=True)
class CaseMix:
    """A calibrated model whose classes' frequencies changed by a factor each (label shift)."""

    factor: FloatArray

    def answers(self, rng: np.random.Generator, count: int) -> tuple[FloatArray, IntArray]:
        """The same."""
        logits, labels = calibrated(rng, len(self.factor)).answers(rng, 10 * count)
        chosen = rng.choice(len(labels), count, replace=False, p=_shares(self.factor[labels]))
        return logits[chosen], labels[chosen]


World = Shift | CaseMix
Choice = Callable[[FloatArray, IntArray], FloatArray]


def calibrated(_: np.random.Generator, k: int) -> Shift:
    """Nothing is wrong."""
    return Shift(np.ones(k), np.zeros(k))


def overconfident(rng: np.random.Generator, k: int) -> Shift:
    """Confidence is too high in all classes alike."""
    return Shift(np.full(k, rng.uniform(0.4, 0.8)), np.zeros(k))


@dataclass(frozen=True)
class Scene:
    """What has changed; `chosen` returns relative frequencies of labels, None for all."""

    world: Callable[[np.random.Generator, int], World]
    chosen: Choice | None = None


SCENES: dict[str, Scene] = {
    "nothing": Scene(calibrated),
    "overconfidence": Scene(overconfident),
    "underconfidence": Scene(lambda rng, k: Shift(np.full(k, rng.uniform(1.25, 2.5)), np.zeros(k))),
    "case mix": Scene(lambda rng, k: CaseMix(np.exp(rng.normal(0, 0.8, k)))),
    "opposite classes": Scene(
        lambda rng, k: Shift(np.full(k, rng.uniform(0.4, 0.8)), rng.normal(0, 0.8, k))
    ),
    "nothing; wrong answers labeled 5 times as often": Scene(
        calibrated, lambda p, y: 1 + 4.0 * (p.argmax(1) != y)
    ),
    "overconfidence; labels of unsure answers": Scene(
        overconfident, lambda p, _: (p.max(axis=1) < 0.8) + 1e-12
    ),
}


@dataclass(frozen=True)
class Row:
    """One scene and number of labels. NLL: means over the shifts, nats, on fresh answers."""

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


@dataclass(frozen=True)
class Labeled:
    """Logits (N, K), labels (N,), the card, and who was labeled of all served."""

    logits: FloatArray
    labels: IntArray
    card: Card
    served: FloatArray
    is_labeled: npt.NDArray[np.bool_]

    def recalibrate(self, *, changes: bool) -> Affine | None:
        """Do what `candor recalibrate` does; None where it refuses."""
        answers = LabeledAnswers(
            0, softmax(self.logits), self.labels, None, None, (None,) * len(self.labels), None
        )
        uneven = compare_shares(
            [share for each in range(self.served.shape[1]) for share in self._shares(each)]
        )
        try:
            found = propose(
                answers, self.card, min_labels=100, uneven=uneven, allow_label_changes=changes
            )
        except RecalibrationRefused:
            return None
        return found.affine

    def _shares(self, predicted: int) -> list[LabeledShare]:
        confidence, answer = top_label(self.served)
        bins = bin_index(confidence)
        counts = [
            np.bincount(bins[(answer == predicted) & part], minlength=BIN_COUNT)
            for part in (self.is_labeled, True)
        ]
        return shares_by_bin(str(predicted), *counts)


METHODS: dict[str, Callable[[Labeled], Affine | None]] = {
    "temperature on all labels": lambda seen: TEMPERATURE.fit(seen.logits, seen.labels),
    "recalibrate": lambda seen: seen.recalibrate(changes=False),
    "recalibrate --allow-label-changes": lambda seen: seen.recalibrate(changes=True),
}


def simulate(*, shifts: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """The fields of a Row for every scene, number of labels and method; 2, 3, 5 classes in turn."""
    for kind, scene in SCENES.items():
        for labels in LABELS:
            figures: dict[str, list[tuple[float, float, float, float, bool]]] = {
                name: [] for name in METHODS
            }
            for number in range(shifts):
                rng = np.random.default_rng([seed, labels, number])
                world = scene.world(rng, k := (2, 3, 5)[number % 3])
                seen, fresh = _label(scene, world, rng, labels, k), world.answers(rng, FRESH)
                before = _judge(softmax(fresh[0]), fresh[1])
                for name, method in METHODS.items():
                    fitted = method(seen)
                    after = before if fitted is None else _judge(fitted(fresh[0]), fresh[1])
                    figures[name].append((before[0], after[0], before[1], after[1], fitted is None))
            for name, measured in figures.items():
                yield asdict(_row(kind, labels, name, np.array(measured, dtype=float)))


def _label(scene: Scene, world: World, rng: np.random.Generator, count: int, k: int) -> Labeled:
    """Serve answers and label `count` of them as the scene chooses."""
    card = _card(rng, k)
    if scene.chosen is None:
        logits, labels = world.answers(rng, count)
        return Labeled(logits, labels, card, softmax(logits), np.ones(count, dtype=bool))
    logits, labels = world.answers(rng, (1 + UNLABELED) * count)
    served = softmax(logits)
    taken = rng.choice(len(labels), count, replace=False, p=_shares(scene.chosen(served, labels)))
    return Labeled(
        logits[taken], labels[taken], card, served, np.isin(np.arange(len(labels)), taken)
    )


def _card(rng: np.random.Generator, k: int) -> Card:
    """The card of a model that was calibrated when it was published."""
    logits, labels = calibrated(rng, k).answers(rng, REFERENCE)
    p = softmax(logits)
    confidence, predicted = top_label(p)
    calibration = CalibrationCard.from_reference(
        temperature=1.0,
        split="val",
        sums=BinSums.from_predictions(confidence, predicted == labels),
        measures=Measures.from_probabilities(p, labels),
        confusion=confusion_matrix(p, labels),
    )
    return made_up("simulated", list(map(str, range(k))), calibration)


def _shares(weights: FloatArray) -> FloatArray:
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _judge(probabilities: FloatArray, labels: IntArray) -> tuple[float, float]:
    """Return NLL and the largest |gap| of the answers of one class that make up 2 % of all."""
    confidence, predicted = top_label(probabilities)
    counts = np.bincount(predicted, minlength=probabilities.shape[1])
    sums = np.bincount(
        predicted, confidence - (predicted == labels), minlength=probabilities.shape[1]
    )
    enough = counts >= 0.02 * len(labels)
    return nll(probabilities, labels), float(np.abs(sums[enough] / counts[enough]).max())


def _row(kind: str, labels: int, method: str, figures: FloatArray) -> Row:
    change = figures[:, 1] - figures[:, 0]
    means = [float(value) for value in figures[:, :4].mean(axis=0)]
    helps, harms = int((change < -NOTICEABLE).sum()), int((change > NOTICEABLE).sum())
    return Row(kind, labels, method, len(figures), helps, harms, int(figures[:, 4].sum()), *means)
