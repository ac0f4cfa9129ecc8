"""Measures by hand and against torchmetrics, netcal and scikit-learn."""

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from calibration.bins import BinSums
from calibration.measures import metrics
from calibration.measures.summary import Measures
from tests.builders.answers import simulated

with warnings.catch_warnings():  # what the oracles' own dependencies warn of is not ours
    warnings.simplefilter("ignore")
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def random_answers(seed: int, *, n: int = 700, classes: int = 4) -> Answers:
    """Probabilities on no bin edge, where the oracles differ from us, and unrelated labels."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, 0.4), n), rng.integers(0, classes, n)


def sums_of(answers: Answers, bin_count: int = 15) -> BinSums:
    confidence, predicted = metrics.top_label(answers[0])
    return BinSums.from_predictions(confidence, predicted == answers[1], bin_count)


def test_ece_and_mce_equal_torchmetrics() -> None:
    for seed in range(5):
        for bin_count in [5, 15, 20]:
            for norm, ours in [("l1", metrics.ece), ("max", metrics.mce)]:
                probabilities, labels = random_answers(seed)
                theirs = multiclass_calibration_error(
                    torch.tensor(probabilities),
                    torch.tensor(labels),
                    num_classes=4,
                    n_bins=bin_count,
                    norm=norm,
                )
                assert ours(sums_of((probabilities, labels), bin_count)) == pytest.approx(
                    float(theirs), abs=1e-6
                )


def test_nll_and_brier_equal_scikit_learn() -> None:
    for seed in range(5):
        probabilities, labels = random_answers(seed)
        found = Measures.from_probabilities(probabilities, labels)
        theirs = brier_score_loss(labels, probabilities, labels=range(4), scale_by_half=False)
        assert found.nll == pytest.approx(log_loss(labels, probabilities))
        assert found.brier == pytest.approx(theirs)


def test_hand_numbers() -> None:
    # Of two bins, (.5, 1] has n = 4, S = 3.4, C = 3, V = 3 * .16 and [0, .5] has n = 1, S = .5, C =
    # 1, V = .25.
    sums = BinSums.from_predictions(
        [0.8, 0.8, 0.8, 1.0, 0.5], [True, True, False, True, True], bin_count=2
    )
    found, q = Measures.from_sums(sums), 2 * 0.2**2 + 0.8**2
    assert found.ece == pytest.approx((0.4 + 0.5) / 5)
    assert found.mce == pytest.approx(0.5)
    assert found.noise_floor == pytest.approx(math.sqrt(2 / math.pi) * (math.sqrt(0.48) + 0.5) / 5)
    floor = math.sqrt(2 / math.pi) * (math.sqrt(0.48) + 0.5)
    assert found.ece_z == pytest.approx((0.9 - floor) / math.sqrt((1 - 2 / math.pi) * 0.73))
    assert found.signed_gap == pytest.approx(-0.02)
    # with 3.84 more answers of .78, half of them right
    center = (-0.1 + 3.841459 * (0.78 - 0.5)) / 8.841459
    square = (q + 0.25 + 3.841459 / 2 * (0.78**2 + 0.22**2)) / 8.841459
    half = 1.959964 * math.sqrt((square - center**2) / 8.841459)
    assert (found.signed_gap_lower, found.signed_gap_upper) == pytest.approx(
        (center - half, center + half), abs=1e-6
    )
    assert metrics.signed_gap_variance(sums) == pytest.approx((square - center**2) / 5, abs=1e-6)
    sd = math.sqrt(q - 0.4**2 / 4 + 0.25)  # per bin the larger of V and Q - D^2/n
    assert (found.ece_lower, found.ece_upper) == pytest.approx(
        (0, (0.9 + 1.959964 * sd) / 5), abs=1e-6
    )
    assert found.accuracy == pytest.approx(0.8)
    assert found.mean_confidence == pytest.approx(0.78)
    assert found.debiased_rms == 0  # (.4^2 - q) / 4 + 0 < 0


def test_answers_of_one_confidence_have_the_interval_of_agresti_and_coull() -> None:
    for n, right in [(1, 0), (1, 1), (3, 0), (20, 20), (400, 399)]:
        interval = metrics.signed_gap_interval(
            BinSums.from_predictions([0.97] * n, [True] * right + [False] * (n - right))
        )
        answers = n + 1.959964**2
        accuracy = (right + 1.959964**2 / 2) / answers
        half = 1.959964 * math.sqrt(accuracy * (1 - accuracy) / answers)
        assert interval == pytest.approx(
            (0.97 - accuracy - half, min(0.97 - accuracy + half, 1)), abs=1e-6
        )


def test_no_data_is_not_a_number_and_none_in_json() -> None:
    empty = Measures.from_sums(BinSums.zeros())
    assert empty.as_dict() == {"n": 0, **dict.fromkeys(list(empty.as_dict())[1:])}
    assert math.isnan(metrics.nll(np.empty((0, 3)), np.empty(0, dtype=int)))
    assert math.isnan(metrics.brier(np.empty((0, 3)), np.empty(0, dtype=int)))


def test_labels_that_do_not_fit_are_refused() -> None:
    for measure in [metrics.nll, metrics.brier]:
        for probabilities, labels in [
            ([[0.5, 0.5]], [2]),
            ([[0.5, 0.5]], [-1]),
            ([[0.5, 0.5]], [0, 1]),
            ([0.5, 0.5], [0, 1]),
        ]:
            with pytest.raises(ValueError, match="labels"):
                measure(probabilities, labels)


def test_a_zero_costs_what_scikit_learn_says_or_a_quarter_of_the_last_decimal() -> None:
    sure, rounded = [[1.0, 0.0]], [[1.0, 0.0], [0.98, 0.02]]
    assert metrics.nll(sure, [1]) == pytest.approx(log_loss([1], sure, labels=[0, 1]))
    assert metrics.nll(rounded, [1, 0]) == pytest.approx(-np.log([0.0025, 0.98]).mean())
    assert Measures.from_probabilities(rounded, [1, 0]).nll_zeros == 1


def test_rounded_probabilities_have_a_larger_smallest_one() -> None:
    p, _ = simulated(2)
    assert metrics.smallest_probability(p.round(2)) == 0.0025
    assert metrics.smallest_probability(p.round(4)) == 0.000025
    for exact in (p, p.astype(np.float32), [[0.0, 1.0]]):
        assert metrics.smallest_probability(exact) == metrics.SMALLEST
