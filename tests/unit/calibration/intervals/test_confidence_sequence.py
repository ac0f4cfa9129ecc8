"""The sequences against SciPy, against the bets themselves, and over whole simulated streams."""

import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from calibration.intervals.confidence_sequence import (
    accuracy_sequence,
    gap_sequences,
    share_interval,
)

_BETS = np.geomspace(0.005, 0.9, 12)


def test_an_accuracy_sequence_is_where_the_beta_binomial_ratio_reaches_one_over_alpha() -> None:
    for n, correct, alpha in (
        (10, 7, 0.05),
        (524, 488, 0.0125),
        (20_000, 12_345, 0.001),
        (300, 299, 0.05),
    ):

        def excess(p: float, n: int = n, correct: int = correct, alpha: float = alpha) -> float:
            mixture = special.betaln(correct + 1, n - correct + 1)
            return float(
                mixture
                - special.xlogy(correct, p)
                - special.xlog1py(n - correct, -p)
                + math.log(alpha)
            )

        lower, upper = accuracy_sequence(n, correct, alpha=alpha)
        assert lower == pytest.approx(optimize.brentq(excess, 1e-12, correct / n), abs=1e-6)
        assert upper == pytest.approx(optimize.brentq(excess, correct / n, 1 - 1e-12), abs=1e-6)


def test_a_share_interval_is_clopper_and_pearsons() -> None:
    for n, correct in ((10, 7), (524, 488), (5_000, 4_999)):
        lower, upper = share_interval(n, correct)
        assert lower == pytest.approx(stats.beta.ppf(0.025, correct, n - correct + 1), abs=1e-9)
        assert upper == pytest.approx(stats.beta.ppf(0.975, correct + 1, n - correct), abs=1e-9)
    assert share_interval(0, 0) == (0, 1)


def test_a_gap_sequence_is_where_the_capital_of_the_bets_reaches_one_over_alpha() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.beta(6, 1.3, 2_000)
    gaps = confidence - (rng.random(2_000) < confidence - 0.1)

    def capital(mean: float) -> float:
        bets = []
        for side in (1, -1):
            distance = side * (gaps - mean) / max(1.0, 1 + side * mean)
            bets += [
                math.exp(float((b * distance + (b + math.log1p(-b)) * distance**2).sum()))
                for b in _BETS
            ]
        return sum(bets) / len(bets)

    (ends,) = gap_sequences(len(gaps), np.array([gaps.sum()]), np.array([(gaps**2).sum()]))
    for end in ends:
        assert capital(end) == pytest.approx(20, rel=1e-3)


def test_nothing_is_known_without_labels_and_wrong_sums_are_refused() -> None:
    assert accuracy_sequence(0, 0) == (0, 1)
    assert gap_sequences(0, np.array([0]), np.array([0])) == [(-1, 1)]
    assert accuracy_sequence(1_000, 1_000).upper == 1
    assert gap_sequences(50, np.array([50]), np.array([50]))[0].upper == 1
    for call in (
        lambda: accuracy_sequence(3, 4),
        lambda: accuracy_sequence(3, 2, alpha=0),
        lambda: gap_sequences(3, np.array([4]), np.array([3])),
        lambda: gap_sequences(3, np.array([2]), np.array([1])),
        lambda: gap_sequences(-1, np.array([0]), np.array([0])),
        lambda: share_interval(3, 4),
    ):
        with pytest.raises(ValueError, match=r"must be in|n must be|are not those"):
            call()
