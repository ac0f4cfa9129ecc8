"""The reliability diagram's bars: their numbers by hand, their intervals by scipy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from calibration.bins import BinSums
from calibration.measures.reliability import reliability, wilson_interval


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_is_scipys(n: int, share: float) -> None:
    k = round(share * n)
    theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_bars_by_hand() -> None:
    first, last = reliability(
        BinSums.from_predictions([0.6, 0.8, 1.0], [True, False, True], bin_count=2)
    )
    assert (last.lower, last.upper, last.n) == (0.5, 1.0, 3)
    assert (last.confidence, last.accuracy) == pytest.approx((0.8, 2 / 3))
    assert (last.accuracy_lower, last.accuracy_upper) == wilson_interval(last.accuracy, 3)
    assert (first.lower, first.upper, first.n) == (0.0, 0.5, 0)
    assert all(
        map(
            math.isnan,
            (first.confidence, first.accuracy, first.accuracy_lower, first.accuracy_upper),
        )
    )
