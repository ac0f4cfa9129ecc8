"""Variants of an exported network in other precisions, each with a calibrator of its own, measured
on validation.

Rounding moves logits, so a variant needs its own temperature, and its own referral threshold and
prediction sets. One that loses more accuracy than allowed is not published.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from model_store.bundle.card import Precision, VariantCard
from model_store.image import InputSpec
from training.datasets import Split
from training.errors import BadRun, UnknownName
from training.evaluation.evaluation import Evaluation, Method, Predictions, evaluate
from training.runs.calibration_card import calibration_parts
from training.runs.onnx_graph import calibrated
from training.runs.precisions import infer_logits, to_float16, to_int8

MAX_ACCURACY_LOSS = 0.01
RANGE_IMAGES = (
    256  # validation images, spread over the split, that set the ranges of int8 activations
)
_AT_ONCE = 64


@dataclass(frozen=True)
class PrecisionVariant:
    """A variant to publish: its part of the card, and its graph."""

    card: VariantCard
    onnx: bytes


@dataclass(frozen=True)
class RefusedVariant:
    """A variant that is not published, and why, as a sentence."""

    precision: str
    reason: str


@dataclass(frozen=True)
class VariantBuilder:
    """What every variant is made from.

    Attributes:
        network: the exported graph without a calibrator.
        evaluation: of the run, whose probabilities are those of the float32 graph.
        split: the validation split.
        spec: the network's input.
        calibrator: the method whose kind each variant gets.
        max_accuracy_loss: on validation; more is refused.
    """

    network: bytes
    evaluation: Evaluation
    split: Split
    spec: InputSpec
    calibrator: Method
    max_accuracy_loss: float = MAX_ACCURACY_LOSS

    def build(self, precision: str) -> PrecisionVariant | RefusedVariant:
        """The variant of one precision, unless it loses too much."""
        network = (
            to_float16(self.network)
            if precision == "float16"
            else to_int8(self.network, self._range_images())
        )
        logits = infer_logits(network, self._batches())
        known = self.evaluation.predictions["val"]
        own = evaluate({"val": Predictions(logits, known.labels, known.groups)})
        before, after = (
            each.probabilities("val", self.calibrator) for each in (self.evaluation, own)
        )
        loss = float(
            (before.argmax(1) == known.labels).mean() - (after.argmax(1) == known.labels).mean()
        )
        if not loss <= self.max_accuracy_loss:
            return RefusedVariant(
                precision,
                f"{precision} is not published: it answers {loss:.2%} fewer of the validation "
                "images correctly than "
                f"float32, and at most {self.max_accuracy_loss:.2%} are allowed "
                "(--max-accuracy-loss).",
            )
        parts = calibration_parts(own, self.calibrator)
        card = VariantCard(
            precision=precision,
            file=f"model.{precision}.onnx",
            accuracy_loss=loss,
            agreement=float((before.argmax(1) == after.argmax(1)).mean()),
            max_difference=min(1.0, float(np.abs(before - after).max())),
            **parts,
        )
        return PrecisionVariant(card, calibrated(network, own.calibrators[self.calibrator]))

    def _batches(self) -> Iterator[NDArray[np.uint8]]:
        starts = range(0, len(self.split), _AT_ONCE)
        return (
            self.split.inputs(self.spec, start=start, stop=start + _AT_ONCE) for start in starts
        )

    def _range_images(self) -> NDArray[np.uint8]:
        chosen = np.unique(np.linspace(0, len(self.split) - 1, RANGE_IMAGES).astype(int)).tolist()
        return np.stack([self.split.images.input(index, self.spec) for index in chosen])


def check_precisions(precisions: Sequence[str], calibrator: Method) -> None:
    """Raise UnknownName for a precision that does not exist, BadRun for a calibrator that variants
    cannot have.
    """
    for each in precisions:
        if each not in get_args(Precision):
            raise UnknownName("precision", each, get_args(Precision))
    if set(precisions) - {"float32"} and calibrator == "perturbed":
        raise BadRun(
            "a variant is calibrated on validation images, so it has no `perturbed` calibrator: "
            "choose another "
            "--calibrator, or --precision float32"
        )
