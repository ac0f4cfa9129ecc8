"""Labels of exclusive classes: they choose the preprocessing, fit the temperature, and measure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.bins import BinSums, bin_index
from calibration.calibrators.constant_answer import beats_constant_answer
from calibration.calibrators.temperature import (
    apply_temperature,
    at_bound,
    fit_temperature,
    highest_temperature,
)
from calibration.conformal import conformal
from calibration.drift.answer_drift import count_answers
from calibration.measures.confusion import confusion_matrix
from calibration.measures.metrics import log_loss, top_label
from calibration.measures.summary import Measures
from calibration.threshold import referral_threshold
from calibration.wording import parameter, some
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Referral
from model_store.bundle.card import InputReference
from model_store.errors import LabeledFolderRefused
from model_store.foreign.card_figures import FEW_IMAGES, CardFigures
from model_store.foreign.labeled_images import LabeledImages

PROMISED_ACCURACY: Final = 0.95  # of the answers that are not referred
MISSED_CLASS: Final = 0.1  # share of prediction sets without the true class
CHANCE: Final = 3.0  # standard errors by which another order of the classes must be better

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassTruth:
    """The class of each labeled image, as a place in `names`: labels (N,)."""

    data: LabeledImages
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    @property
    def strata(self) -> npt.NDArray[np.int64]:
        """A number for each image, so that a sample can have its share of each."""
        return self.labels

    def judge(self, logits: Logits, chosen: Sequence[int]) -> tuple[float, Logits]:
        """Return accuracy, and NLL (n,) after the best temperature, of logits (n, K)."""
        labels = self.labels[chosen]
        probabilities = apply_temperature(logits, fit_temperature(logits, labels))
        return float((logits.argmax(axis=1) == labels).mean()), log_loss(probabilities, labels)

    def figures(self, logits: Logits, reference: InputReference, *, anyway: bool) -> CardFigures:
        """Fit on one half of the images, and measure on the other.

        Logits are (N, K) of all labeled images, and `reference` is their brightness.
        LabeledFolderRefused if labels say that the model is useless, or its classes are in another
        order, unless `anyway`.
        """
        held = self.data.held_out
        fitted = fit_temperature(logits[~held], self.labels[~held])
        undetermined = at_bound(fitted, highest_temperature(logits[~held]))
        stored = float(np.float32(1.0 if undetermined else fitted))  # as the graph holds it
        probabilities, truth = apply_temperature(logits[held], stored), self.labels[held]
        if not anyway:
            self._check_order(logits)
            self._check_useful(probabilities, truth)
        figures = _described(probabilities, truth, stored, calibrated=not undetermined)
        notes = tuple(self._notes(probabilities, truth))
        if undetermined:
            notes = (
                f"Not calibrated: the temperature {fitted:g} is a bound of its range, so the "
                "labels do not determine it. They are too few, or the preprocessing or the order "
                "of the classes is wrong.",
                *notes,
            )
        return replace(figures, input_reference=reference, notes=notes)

    def _check_order(self, logits: Logits) -> None:
        """Refuse an order of the classes that the labels contradict."""
        answered = logits.argmax(axis=1)
        table = np.zeros((len(self.names), len(self.names)), np.int64)
        np.add.at(table, (self.labels, answered), 1)
        usual = table.argmax(axis=0)  # the class that images with each answer mostly have
        seen = table.sum(axis=0) > 0
        usual[~seen] = np.flatnonzero(~seen)
        if len(set(usual.tolist())) < len(usual) or (usual == np.arange(len(usual))).all():
            return
        better = (usual[answered] == self.labels).astype(float) - (answered == self.labels)
        if better.mean() <= CHANCE * better.std(ddof=1) / np.sqrt(len(better)):
            return
        right = float((usual[answered] == self.labels).mean())
        order = ",".join(self.names[each] for each in usual)
        raise LabeledFolderRefused(
            f"the labeled images contradict the order of the classes: as {','.join(self.names)} "
            f"the model is right on {100 * float((answered == self.labels).mean()):.0f} % of them, "
            f"in another order on {100 * right:.0f} %. Give {parameter('classes', order)} if that "
            f"is the order of its scores, or {parameter('anyway', True)} to keep yours"
        )

    def _check_useful(self, probabilities: Logits, truth: npt.NDArray[np.int64]) -> None:
        accuracy, share = _rates(probabilities, truth)
        if accuracy > share or beats_constant_answer(probabilities, truth):
            return
        constant = self.names[int(np.bincount(truth).argmax())]
        raise LabeledFolderRefused(
            f"with its best preprocessing the model is right on {100 * accuracy:.1f} % of "
            f"{len(truth)} held-out images, and always answering {constant!r} would be "
            f"right on {100 * share:.1f} %. Most likely the classes are not in the order of the "
            f"model's scores ({parameter('classes')}), or it was trained with another "
            f"preprocessing ({parameter('pixels')}, {parameter('size')}). To publish it all the "
            f"same, add {parameter('anyway', True)}"
        )

    def _notes(self, probabilities: Logits, truth: npt.NDArray[np.int64]) -> list[str]:
        notes = []
        right, share = _rates(probabilities, truth)
        if right <= share:
            notes.append(
                f"It is right on {100 * right:.1f} % of {len(truth)} held-out images, no more "
                f"often than a constant answer ({100 * share:.1f} %)."
            )
        if len(truth) < FEW_IMAGES:
            notes.append(
                f"The card rests on {len(truth)} held-out images, which is few: look at its "
                "intervals."
            )
        absent = [name for at, name in enumerate(self.names) if not (truth == at).any()]
        if absent:
            notes.append(
                f"No held-out image is of class {some(absent, 5)}: nothing is known "
                "about those answers."
            )
        return notes


def _rates(probabilities: Logits, truth: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return the accuracy, and that of the best constant answer."""
    right = top_label(probabilities)[1] == truth
    return float(right.mean()), float(np.bincount(truth).max() / len(truth))


def _described(
    probabilities: Logits, truth: npt.NDArray[np.int64], temperature: float, *, calibrated: bool
) -> CardFigures:
    confidence, predicted = top_label(probabilities)
    correct = predicted == truth
    threshold = referral_threshold(confidence, correct, promised_accuracy=PROMISED_ACCURACY)
    card = CalibrationCard.from_reference(
        method="temperature" if calibrated else "none",
        temperature=temperature,
        split="held-out half of the labeled images",
        sums=BinSums.from_predictions(confidence, correct),
        measures=Measures.from_probabilities(probabilities, truth),
        confusion=confusion_matrix(probabilities, truth),
        answers=count_answers(predicted, bin_index(confidence), probabilities.shape[1]),
    )
    sets = ConformalCard.from_sets(conformal(probabilities, truth, alpha=MISSED_CLASS))
    return CardFigures(card, referral=Referral.from_threshold(threshold), conformal=sets)
