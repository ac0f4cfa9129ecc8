"""No sharpening without evidence; calibrators that test contradicts; the price of class weights."""

import numpy as np
import pytest

from training.evaluation.calibrators import fit_cautiously
from training.evaluation.caveats import balanced_price, contradiction
from training.evaluation.evaluation import evaluate
from training.evaluation.predictions import Predictions

CERTAIN = 2.0  # logit of the answer; confidence .88


def answers(right: int, wrong: int, *, copies: int = 1) -> Predictions:
    """Answers of confidence .88, right and wrong; `copies` of each belong to one patient."""
    labels = np.repeat([1] * right + [0] * wrong, copies).astype(np.int64)
    logits = np.tile(np.float32([0.0, CERTAIN]), (len(labels), 1))
    return Predictions(logits, labels, np.arange(len(labels)) // copies)


def temperature(known: Predictions) -> float:
    return fit_cautiously(known.logits, known.labels, known.groups).temperature


def test_confidence_is_raised_only_with_evidence() -> None:
    assert temperature(answers(34, 1)) == 1.0  # .971 right, said .881, on 35 images
    assert temperature(answers(340, 10)) < 0.8
    assert temperature(answers(34, 1, copies=10)) == 1.0  # 35 patients are 35 observations
    assert temperature(answers(24, 11)) > 1.5  # to lower it needs none


def test_test_contradicts_a_calibrator_that_makes_it_worse() -> None:
    evaluation = evaluate({"val": answers(340, 10), "test": answers(80, 20)})
    found = contradiction(evaluation, "temperature")
    assert found.images == 100
    assert found.nll_after - found.nll_before > 1.6 * found.nll_error > 0
    assert found.ece_after > found.ece_before
    assert contradiction(evaluation, "none") is None
    good = evaluate({"val": answers(340, 10), "test": answers(97, 3)})
    assert contradiction(good, "temperature") is None


def test_right_answers_alone_contradict_no_lower_confidence() -> None:
    evaluation = evaluate({"val": answers(20, 8), "test": answers(9, 0)})
    assert evaluation.temperature > 1.5
    assert contradiction(evaluation, "temperature") is None


def test_what_a_few_patients_say_contradicts_nothing() -> None:
    few = evaluate({"val": answers(340, 10), "test": answers(8, 2, copies=10)})
    assert contradiction(few, "temperature") is None


def test_balanced_weights_cost_what_the_frequencies_give() -> None:
    """Logits of a model for equal frequencies, on a population of nine to one."""
    generator = np.random.default_rng(0)
    labels = (generator.random(4000) < 0.1).astype(np.int64)
    signal = generator.normal(np.where(labels == 1, 1.0, -1.0))
    logits = np.stack([np.zeros(4000), 2 * signal], axis=1).astype(np.float32)
    evaluation = evaluate(dict.fromkeys(("val", "test"), Predictions(logits, labels)))
    balanced, corrected = balanced_price(evaluation, (900, 100))
    assert corrected.nll < balanced.nll - 0.02
    assert corrected.accuracy > balanced.accuracy + 0.03
    assert corrected.mean_recall < balanced.mean_recall - 0.1
    log_odds = 2 * signal + np.log(100 / 900)  # exact for two normal distributions
    exact = np.logaddexp(0, np.where(labels == 1, -log_odds, log_odds)).mean()
    assert corrected.nll == pytest.approx(exact, abs=0.002)
