"""What a card says of a calibrator: its reference, its measures there, and its promises."""

from typing import TypedDict

import numpy as np

from model_store.bundle.card import CalibrationCard, CalibrationMethod, ConformalCard, Referral
from training.evaluation.evaluation import Evaluation, Method, temperature_of

# How the card names methods; the others are temperatures fitted on validation, 1 for
# "uncalibrated".
METHODS: dict[Method, CalibrationMethod] = {
    "perturbed": "perturbed",
    "vector": "vector",
    "histogram": "histogram",
    "isotonic": "isotonic",
}


class CalibrationParts(TypedDict):
    """The fields of a card, or of a variant on it, that belong to a calibrator."""

    calibration: CalibrationCard
    referral: Referral | None
    conformal: ConformalCard


def calibration_parts(evaluation: Evaluation, calibrator: Method) -> CalibrationParts:
    """Describe a calibrator; its reference is the validation split."""
    referral = evaluation.referral(calibrator)
    return {
        "calibration": CalibrationCard.from_reference(
            temperature=float(
                np.float32(temperature_of(evaluation.calibrators[calibrator]))
            ),  # as the graph holds it
            split="val",
            method=METHODS.get(calibrator, "temperature"),
            sums=evaluation.sums("val", calibrator),
            measures=evaluation.measures["val"][calibrator],
            confusion=evaluation.confusion("val", calibrator),
            answers=evaluation.answers_by_bin("val", calibrator),
        ),
        "referral": Referral(
            threshold=referral.confidence,
            promised_accuracy=referral.promised_accuracy,
            delta=referral.delta,
            coverage=referral.coverage,
        )
        if referral
        else None,
        "conformal": ConformalCard.from_sets(evaluation.conformal(calibrator)),
    }
