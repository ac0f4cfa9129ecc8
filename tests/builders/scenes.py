"""The card of a model whose answers are 75 % right."""

import numpy as np

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from tests.builders.answers import make_card


def card() -> Card:
    """A reference of a thousand answers of a calibrated model, with uniform confidence."""
    rng = np.random.default_rng(99)
    confidence = rng.uniform(0.5, 1.0, 1_000)
    sums = BinSums.from_predictions(confidence, rng.random(1_000) < confidence)
    calibration = CalibrationCard.from_reference(
        temperature=1.0, split="validation", sums=sums, measures=Measures.from_sums(sums)
    )
    return make_card().model_copy(update={"calibration": calibration})
