"""A day at so many answers, from measured constants: cores, disks, and how many PostgreSQL servers
the peak needs.

Answers of a second are Poisson around a rate that follows the day, with its peak at noon. The
ledger commits at most so many rows a second; what is left waits. A number of shards is enough if no
answer waits for WAIT_S or longer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400
PEAK = 3.0  # times the mean of the day, at noon
FLOOR = 0.05  # of the peak, at night
WAIT_S = 1.0
# of the measured rows a second: the rest is for labels, reports, backups and a lost replica
HEADROOM = 0.5
LABELED = 0.2  # of the answers, each once
CORE_SHARE = 0.6  # of a core's time that answers may take before another replica is added


@dataclass(frozen=True)
class Constants:
    """Measured: seconds and bytes of a thousand rows, and rows a second of one PostgreSQL."""

    server_cpu_s: float
    database_cpu_s: float
    answer_bytes: float
    label_bytes: float
    rows_per_s: float


@dataclass(frozen=True)
class Day:
    """What a day with `answers` needs; `longest_wait_s`: of an answer for its commit."""

    answers: int
    mean_per_s: float
    peak_per_s: float
    serving_cores: int
    database_cores: float
    shards: int
    longest_wait_s: float
    gb_per_day: float
    tb_per_year: float


def simulate(answers: int, known: Constants, *, seed: int = 0) -> Day:
    """The day with the fewest shards that keep up."""
    arrivals = arrivals_of_a_day(answers, np.random.default_rng(seed))
    peak = float(arrivals.max())
    capacity = HEADROOM * known.rows_per_s
    shards = max(1, int(answers / DAY_S // capacity))
    while (wait_s := longest_wait_s(arrivals, shards * capacity)) >= WAIT_S:
        shards += 1
    of_a_day = answers / 1000 * (known.answer_bytes + LABELED * known.label_bytes)
    return Day(
        answers,
        answers / DAY_S,
        peak,
        serving_cores=int(np.ceil(peak / 1000 * known.server_cpu_s / CORE_SHARE)),
        database_cores=peak / 1000 * known.database_cpu_s,
        shards=shards,
        longest_wait_s=wait_s,
        gb_per_day=of_a_day / 1e9,
        tb_per_year=365 * of_a_day / 1e12,
    )


def arrivals_of_a_day(answers: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Answers of each second, (86400,); on average `answers` in all.

    >>> day = arrivals_of_a_day(10**8, np.random.default_rng(0))
    >>> bool(abs(day.sum() / 10**8 - 1) < 0.001), round(float(day.max() / day.mean()))
    (True, 3)
    """
    at = np.arange(DAY_S) / DAY_S
    wave = (1 - np.cos(2 * np.pi * at)) / 2  # 0 at midnight, 1 at noon
    exponent = _sharpness()
    rate = FLOOR + (1 - FLOOR) * wave**exponent
    return rng.poisson(answers * rate / rate.sum())


def longest_wait_s(arrivals: NDArray[np.int64], rows_per_s: float) -> float:
    """The longest wait for a commit in seconds, if so many rows are committed in each.

    >>> longest_wait_s(np.array([10, 30, 10, 0]), 20.0)  # 10 rows are left after the second second
    0.5
    """
    excess = np.cumsum(arrivals - rows_per_s)
    backlog = excess - np.minimum.accumulate(np.minimum(excess, 0))
    return float(backlog.max() / rows_per_s)


def _sharpness() -> float:
    """The exponent for which the peak of the day is PEAK times its mean."""
    wave = (1 - np.cos(2 * np.pi * np.arange(1440) / 1440)) / 2
    candidates = np.linspace(0.5, 20, 400)
    means = np.array([(FLOOR + (1 - FLOOR) * wave**each).mean() for each in candidates])
    return float(candidates[np.abs(1 / means - PEAK).argmin()])
