"""The choice of a method, on made-up answers whose best candidate is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.bins import BinSums
from calibration.calibrators.histogram import Histogram
from calibration.measures.metrics import ece, top_label
from training.errors import BadChoice
from training.evaluation.evaluation import Predictions
from training.experiments.cell import Cell, CellResult
from training.experiments.choice import Candidate, Limits, choose
from training.runs.config import TrainConfig

Floats = NDArray[np.float64]


def answers(
    *, seed: int, sharpness: float = 1.0, flips: float = 0.0, count: int = 600
) -> Predictions:
    """Logits whose softmax is true, times `sharpness`; a share `flips` points the wrong way."""
    generator = np.random.default_rng(seed)
    margin = generator.normal(scale=2, size=count)
    labels = (generator.uniform(size=count) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    turned = np.where(generator.uniform(size=count) < flips, -1, 1)
    logits = np.stack([np.zeros(count), sharpness * margin * turned], axis=1)
    return Predictions(logits.astype(np.float32), labels)


def results(
    method: str, *, seeds: int = 3, failure: str | None = None, **how: float
) -> list[CellResult]:
    """One method's results; validation and test are alike."""
    made = []
    for seed in range(seeds):
        cell = Cell("data", "network", method, TrainConfig(seed=seed), "fingerprint")
        known = answers(seed=seed, **how)
        made.append(
            CellResult(cell, 1.0, {} if failure else {"val": known, "test": known}, failure)
        )
    return made


class TestChoice:
    def test_the_calibrated_candidate_is_chosen_with_certainty(self) -> None:
        found = choose([*results("ce", sharpness=4.0, flips=0.1), *results("better")])
        assert found.chosen.method == "better"
        assert found.scores[Candidate("ce", "none")].ece > 3 * found.scores[found.chosen].ece
        assert sum(found.shares.values()) == pytest.approx(1)
        assert sum(share for each, share in found.shares.items() if each.method == "better") > 0.5

    def test_a_calibrated_candidate_of_low_accuracy_is_not_chosen(self) -> None:
        """Half of its answers are flipped and its confidence says so: calibrated and useless."""
        known = results("useless", sharpness=0.0, flips=0.5)
        found = choose([*results("ce", sharpness=1.5), *known])
        assert found.chosen.method == "ce"
        assert not found.scores[Candidate("useless", "none")].admissible
        loose = choose([*results("ce", sharpness=1.5), *known], limits=Limits(1.0, 10.0))
        assert loose.scores[Candidate("useless", "none")].admissible

    def test_scores_are_the_measures_of_validation(self) -> None:
        known = results("ce", seeds=1)
        confidence, predicted = top_label(_softmax(known[0].predictions["val"].logits))
        sums = BinSums.from_predictions(confidence, predicted == known[0].predictions["val"].labels)
        assert choose(known).scores[Candidate("ce", "none")].ece == pytest.approx(ece(sums))

    def test_a_method_that_failed_with_a_seed_is_not_a_candidate(self) -> None:
        lost = [*results("lost", seeds=2), *results("lost", failure="nan")]
        found = choose([*results("ce", sharpness=4.0), *lost])
        assert {each.method for each in found.scores} == {"ce"}

    def test_cross_entropy_is_required(self) -> None:
        with pytest.raises(BadChoice, match="cross-entropy"):
            choose(results("dca"))

    def test_a_calibrator_is_not_measured_where_it_was_fitted(self) -> None:
        """Fifteen bins fitted on few images look calibrated there and are not elsewhere."""
        few = results("ce", seeds=1, count=90)
        val = few[0].predictions["val"]
        confidence, predicted = top_label(Histogram.fit(val.logits, val.labels)(val.logits))
        fitted = ece(BinSums.from_predictions(confidence, predicted == val.labels))
        assert choose(few).scores[Candidate("ce", "histogram")].ece > 2 * fitted


def _softmax(logits: NDArray[np.float32]) -> Floats:
    powers = np.exp(logits.astype(np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
