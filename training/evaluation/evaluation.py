"""Evaluate a trained network: logits of validation and test -> every calibrator -> measures.

Calibrators are fitted on validation alone. Referral threshold and prediction sets also come from
validation, but each tenth of it gets the probabilities of a calibrator that was fitted on the other
nine (`calibration.cross_fitting`). Their promises are about data like the validation split.
Measures of a fitted calibrator on validation are in-sample. They are too good, the more so the more
flexible the calibrator is; the test split shows its real performance.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.bins import BinSums, bin_index
from calibration.calibrators.affine import Affine
from calibration.conformal import Conformal, conformal, prediction_sets
from calibration.cross_fitting import cross_fit
from calibration.drift.answer_drift import count_answers
from calibration.measures.confusion import confusion_matrix, recalls
from calibration.measures.metrics import top_label
from calibration.measures.summary import Measures
from calibration.threshold import Threshold, referral_threshold
from training.errors import BadRun
from training.evaluation.calibrators import EXPORTABLE, FITS, Calibrator, Method
from training.evaluation.predictions import (
    EVALUATED,
    EvaluatedSplit,
    Predictions,
    tenths,
    write_results,
)

PROMISED_ACCURACY = 0.95  # of the answers that are not referred
MISSED_CLASS = 0.1  # share of prediction sets without the true class


@dataclass(frozen=True)
class Evaluation:
    """Predictions by split, the calibrators fitted on validation, and measures by method."""

    calibrators: Mapping[Method, Calibrator]
    predictions: Mapping[EvaluatedSplit, Predictions]
    measures: Mapping[EvaluatedSplit, Mapping[Method, Measures]]
    _held_out: dict[Method, NDArray[np.float64]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def of_classes(self) -> "Evaluation":
        """Itself; an evaluation of findings refuses, as what compares runs of classes wants."""
        return self

    @property
    def temperature(self) -> float:
        """The temperature fitted on validation."""
        return self.affine("temperature").temperature

    def affine(self, method: Method) -> Affine:
        """The calibrator of `method`, for export. Raises BadRun: it is a baseline."""
        found = self.calibrators[method]
        if not isinstance(found, Affine):
            raise BadRun(f"{method} is a baseline, which no graph holds; export another calibrator")
        return found

    def probabilities(self, split: EvaluatedSplit, method: Method) -> NDArray[np.float64]:
        """(N, K) of `split`, rows summing to 1."""
        return self.calibrators[method](self.predictions[split].logits.astype(np.float64))

    def answers(
        self, split: EvaluatedSplit, method: Method
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Confidence (N,) and correctness (N,) of `split`."""
        confidence, predicted = top_label(self.probabilities(split, method))
        return confidence, predicted == self.predictions[split].labels

    def sums(self, split: EvaluatedSplit, method: Method) -> BinSums:
        """The confidence bins of `split`, for a diagram or a card."""
        return BinSums.from_predictions(*self.answers(split, method))

    @property
    def calibrated_sums(self) -> dict[EvaluatedSplit, BinSums]:
        """The bins of the diagrams of a run."""
        return {split: self.sums(split, "temperature") for split in EVALUATED}

    def confusion(self, split: EvaluatedSplit, method: Method) -> NDArray[np.int64]:
        """Count the answers of `split` by true class and predicted class, (K, K)."""
        return confusion_matrix(self.probabilities(split, method), self.predictions[split].labels)

    def held_out(self, method: Method) -> NDArray[np.float64]:
        """(N, K) of validation, each row from a calibrator that was fitted without its label."""
        if method not in self._held_out:
            val = self.predictions["val"]
            z = val.logits.astype(np.float64)
            self._held_out[method] = cross_fit(
                lambda rows: FITS[method](
                    z[rows], val.labels[rows], None if val.groups is None else val.groups[rows]
                ),
                z,
                tenths(val.labels, val.groups),
            )
        return self._held_out[method]

    def answers_by_bin(self, split: EvaluatedSplit, method: Method) -> NDArray[np.int64]:
        """Count the answers of `split` by predicted class and confidence bin, (K, BIN_COUNT)."""
        probabilities = self.probabilities(split, method)
        confidence, predicted = top_label(probabilities)
        return count_answers(predicted, bin_index(confidence), probabilities.shape[1])

    def referral(self, method: Method) -> Threshold | None:
        """Below this confidence a person answers; from validation, None if no promise is kept."""
        confidence, predicted = top_label(self.held_out(method))
        correct = predicted == self.predictions["val"].labels
        return referral_threshold(confidence, correct, promised_accuracy=PROMISED_ACCURACY)

    def conformal(self, method: Method) -> Conformal:
        """Prediction sets with the true class for 9 in 10 images like those of validation."""
        return conformal(self.held_out(method), self.predictions["val"].labels, alpha=MISSED_CLASS)

    def promises(self, method: Method) -> dict[str, Any]:
        """Referral threshold and prediction sets as JSON, and what each achieves on both splits."""
        referral, sets = self.referral(method), self.conformal(method)
        return {
            "referral": referral
            and asdict(referral)
            | {"kept": {split: self._kept(split, method, referral) for split in EVALUATED}},
            "conformal": asdict(sets)
            | {"kept": {split: self._covered(split, method, sets) for split in EVALUATED}},
        }

    def _unseen(self, split: EvaluatedSplit, method: Method) -> NDArray[np.float64]:
        """(N, K) from calibrators that have not seen the labels of these images."""
        return self.held_out(method) if split == "val" else self.probabilities(split, method)

    def _kept(
        self, split: EvaluatedSplit, method: Method, referral: Threshold
    ) -> dict[str, float | None]:
        confidence, predicted = top_label(self._unseen(split, method))
        correct = predicted == self.predictions[split].labels
        answered = confidence >= referral.confidence
        accuracy = float(correct[answered].mean()) if answered.any() else None
        return {"coverage": float(answered.mean()), "accuracy": accuracy}

    def _covered(self, split: EvaluatedSplit, method: Method, sets: Conformal) -> dict[str, float]:
        probabilities, labels = self._unseen(split, method), self.predictions[split].labels
        members = prediction_sets(probabilities, sets.threshold)
        covered = members[np.arange(len(labels)), labels]
        return {
            "coverage": float(covered.mean()),
            "mean_set_size": float(members.sum(axis=1).mean()),
        }

    def changed(self, split: EvaluatedSplit, method: Method) -> float:
        """Share of answers whose predicted class `method` changes."""
        predicted = self.probabilities(split, method).argmax(axis=1)
        return float((predicted != self.predictions[split].logits.argmax(axis=1)).mean())

    def write(self, folder: Path) -> None:
        """Write metrics.json, calibrators.json and predictions.npz."""
        write_results(
            folder,
            metrics=self.as_dict(),
            calibrators={method: self.affine(method).as_dict() for method in EXPORTABLE},
            predictions=self.predictions,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: temperature, promises, changed labels, measures by split."""
        return {
            "temperature": self.temperature,
            "calibrators": {
                method: {
                    "fitted_on": None if method == "none" else "val",
                    "changed_labels": {
                        split: self.changed(split, method) for split in self.predictions
                    },
                }
                for method in self.calibrators
            },
            "splits": {
                split: {method: measures.as_dict() for method, measures in by_method.items()}
                for split, by_method in self.measures.items()
            },
            "answers": {split: self._answers_by_class(split) for split in EVALUATED},
        } | self.promises("temperature")

    def _answers_by_class(self, split: EvaluatedSplit) -> dict[str, Any]:
        """Confusion matrix, recall of each class, and accuracy of the best constant answer."""
        confusion = self.confusion(split, "temperature")
        constant = float(confusion.sum(axis=1).max() / confusion.sum())
        return {
            "confusion": confusion.tolist(),
            "recall": recalls(confusion),
            "constant_accuracy": constant,
        }


def evaluate(predictions: Mapping[EvaluatedSplit, Predictions]) -> Evaluation:
    """Fit every calibrator on `val`, and measure all on all splits."""
    val = predictions["val"]
    z = val.logits.astype(np.float64)
    calibrators = {method: fit(z, val.labels, val.groups) for method, fit in FITS.items()}
    measures = {
        split: {
            method: Measures.from_probabilities(
                calibrator(known.logits.astype(np.float64)), known.labels
            )
            for method, calibrator in calibrators.items()
        }
        for split, known in predictions.items()
    }
    return Evaluation(calibrators, dict(predictions), measures)
