"""What a trained network is worth: logits of validation and test -> temperature -> measures.

The temperature is fitted on validation alone. The referral threshold too: with it, the promise is about data like the
validation split, which is what the card says.
"""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.bins import BinSums
from calibration.measures import Measures
from calibration.metrics import top_label
from calibration.temperature import apply_temperature, fit_temperature
from calibration.threshold import Threshold, referral_threshold
from training.errors import BadRun

Method = Literal["uncalibrated", "temperature"]
METHODS: tuple[Method, ...] = ("uncalibrated", "temperature")
PROMISED_ACCURACY = 0.95  # of the answers that are not referred
EvaluatedSplit = Literal["val", "test"]
EVALUATED: tuple[EvaluatedSplit, ...] = ("val", "test")


@dataclass(frozen=True)
class Predictions:
    """Logits float32 (N, K) of a split and its labels int64 (N,)."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Evaluation:
    """Predictions of both splits, the temperature that validation asks for, and the measures of each method."""

    temperature: float
    predictions: Mapping[EvaluatedSplit, Predictions]
    measures: Mapping[EvaluatedSplit, Mapping[Method, Measures]]
    referral: Threshold | None

    def probabilities(self, split: EvaluatedSplit, method: Method) -> NDArray[np.float64]:
        """(N, K) of `split`, rows summing to 1."""
        return _probabilities(self.predictions[split].logits, self._temperature(method))

    def sums(self, split: EvaluatedSplit, method: Method) -> BinSums:
        """The confidence bins of `split`, for a diagram or a card."""
        confidence, predicted = top_label(self.probabilities(split, method))
        return BinSums.from_predictions(confidence, predicted == self.predictions[split].labels)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: temperature, measures by split and method, referral."""
        return {
            "temperature": self.temperature,
            "splits": {
                split: {method: measures.as_dict() for method, measures in by_method.items()}
                for split, by_method in self.measures.items()
            },
            "referral": dataclasses.asdict(self.referral) if self.referral else None,
        }

    def _temperature(self, method: Method) -> float:
        return self.temperature if method == "temperature" else 1.0


def evaluate(predictions: Mapping[EvaluatedSplit, Predictions]) -> Evaluation:
    """Fit on `val`, measure on both."""
    val = predictions["val"]
    temperature = fit_temperature(val.logits, val.labels)
    by_method: dict[Method, float] = {"uncalibrated": 1.0, "temperature": temperature}
    measures = {
        split: {
            method: Measures.from_probabilities(_probabilities(known.logits, divisor), known.labels)
            for method, divisor in by_method.items()
        }
        for split, known in predictions.items()
    }
    confidence, predicted = top_label(_probabilities(val.logits, temperature))
    referral = referral_threshold(confidence, predicted == val.labels, promised_accuracy=PROMISED_ACCURACY)
    return Evaluation(temperature, dict(predictions), measures, referral)


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """metrics.json for people and programs, predictions.npz to compute anything else from."""
    text = json.dumps(evaluation.as_dict(), indent=2, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n")
    arrays = {
        f"{split}_{field.name}": getattr(known, field.name)
        for split, known in evaluation.predictions.items()
        for field in dataclasses.fields(known)
    }
    np.savez(folder / "predictions.npz", **arrays)


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation of a run, computed again from its predictions. Raises BadRun."""
    return evaluate(read_predictions(folder))


def read_predictions(folder: Path) -> dict[EvaluatedSplit, Predictions]:
    """The predictions of a run by split. Raises BadRun."""
    try:
        with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
            return {split: Predictions(arrays[f"{split}_logits"], arrays[f"{split}_labels"]) for split in EVALUATED}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadRun(f"{folder} is not a finished run: predictions.npz cannot be read ({error})") from error


def _probabilities(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    return apply_temperature(logits.astype(np.float64), temperature)
