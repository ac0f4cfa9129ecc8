"""Days computed from constants: what grows in proportion, and when one database is no longer
enough.
"""

import numpy as np
import pytest

from benchmarks.scaling.simulation import (
    DAY_S,
    HEADROOM,
    PEAK,
    WAIT_S,
    Constants,
    arrivals_of_a_day,
    longest_wait_s,
    simulate,
)

KNOWN = Constants(
    server_cpu_s=40.0,
    database_cpu_s=0.05,
    answer_bytes=250_000,
    label_bytes=280_000,
    rows_per_s=5_000,
)


@pytest.mark.parametrize("answers", [10**7, 10**8])
def test_the_peak_of_a_day_is_at_noon(answers: int) -> None:
    arrivals = arrivals_of_a_day(answers, np.random.default_rng(1))
    assert arrivals.sum() == pytest.approx(answers, rel=0.001)
    smooth = np.convolve(arrivals, np.full(600, 1 / 600), mode="same")
    assert abs(int(smooth.argmax()) - DAY_S // 2) < 3_600
    assert smooth.max() / arrivals.mean() == pytest.approx(PEAK, rel=0.05)


def test_a_day_has_the_fewest_shards_that_keep_up() -> None:
    day = simulate(10**9, KNOWN)
    arrivals = arrivals_of_a_day(10**9, np.random.default_rng(0))
    assert (
        day.longest_wait_s
        == longest_wait_s(arrivals, day.shards * HEADROOM * KNOWN.rows_per_s)
        < WAIT_S
    )
    assert longest_wait_s(arrivals, (day.shards - 1) * HEADROOM * KNOWN.rows_per_s) >= WAIT_S
    assert simulate(10**6, KNOWN).shards == 1


def test_disks_grow_with_the_answers() -> None:
    small, large = simulate(10**6, KNOWN), simulate(10**8, KNOWN)
    assert large.gb_per_day == pytest.approx(100 * small.gb_per_day)
    assert small.gb_per_day == pytest.approx(1_000 * (250_000 + 0.2 * 280_000) / 1e9)
