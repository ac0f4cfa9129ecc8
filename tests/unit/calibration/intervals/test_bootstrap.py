"""Bootstrap: scipy's intervals, the coverage it says, and patients drawn whole."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from calibration.intervals.bootstrap import (
    AREAS,
    MEANS,
    RATES,
    bootstrap,
    bootstrap_sums,
    measure_intervals,
)
from calibration.measures.summary import Measures

Floats = npt.NDArray[np.float64]


def mean(sums: Floats) -> Floats:
    return sums[:, :1] / sums[:, 1:]


def with_ones(values: Floats) -> Floats:
    return np.stack([values, np.ones(len(values))], axis=1)


@pytest.mark.slow
def test_intervals_are_scipys_up_to_the_draws() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    by_sums = bootstrap_sums(with_ones(values), mean, resamples=40_000)[0]
    by_rows = bootstrap(lambda rows: values[rows].mean(), 60, resamples=10_000)[0]
    for found, method in ((by_sums, "BCa"), (by_rows, "percentile")):
        theirs = stats.bootstrap(
            (values,), np.mean, method=method, n_resamples=40_000, rng=1
        ).confidence_interval
        width = theirs.high - theirs.low
        assert found == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)


def test_what_does_not_vary_has_an_interval_of_no_width() -> None:
    assert bootstrap_sums(with_ones(np.full(9, 0.25)), mean)[0] == (0.25, 0.25)


def test_resamples_without_a_value_do_not_count() -> None:
    def share(rows: npt.NDArray[np.int64]) -> float:
        return np.nan if 0 in rows else 0.5

    assert bootstrap(share, 4, resamples=200)[0] == (0.5, 0.5)
    assert np.isnan(bootstrap(lambda rows: np.nan, 4, resamples=20)[0]).all()


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_sums(np.empty((0, 2)), mean)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        bootstrap(lambda rows: 0.0, 3, groups=[1, 2])


def test_intervals_of_measures_hold_the_measures() -> None:
    rng = np.random.default_rng(6)
    p = rng.dirichlet(np.ones(3), 300)
    y = (p.cumsum(axis=1) > rng.random((300, 1))).argmax(axis=1)
    measures, intervals = Measures.from_probabilities(p, y), measure_intervals(p, y, resamples=200)
    assert tuple(intervals) == RATES + MEANS + AREAS
    for name, (low, high) in intervals.items():
        assert low < getattr(measures, name) < high
    # Normal theory: the mean's standard error.
    assert (intervals["accuracy"].upper - intervals["accuracy"].lower) / 3.92 == pytest.approx(
        np.sqrt(measures.accuracy * (1 - measures.accuracy) / 300), rel=0.15
    )
    doubled = measure_intervals(
        np.repeat(p, 4, axis=0), np.repeat(y, 4), groups=np.repeat(np.arange(300), 4), resamples=200
    )
    assert doubled["nll"] == pytest.approx(intervals["nll"], rel=1e-9)


def test_a_model_that_is_always_right_on_few_images_is_not_certain_to_be() -> None:
    p, y = np.tile([0.99, 0.01], (20, 1)), np.zeros(20, dtype=int)
    alone = measure_intervals(p, y, resamples=50)
    # Agresti and Coull; a bootstrap says 1 to 1
    assert alone["accuracy"] == pytest.approx((0.810, 1), abs=2e-3)
    assert alone["signed_gap"].upper == pytest.approx(0.99 - 0.810, abs=2e-3)
    of_two = measure_intervals(p, y, groups=np.repeat([0, 1], 10), resamples=50)
    assert of_two["accuracy"].lower < 0.35  # two patients
