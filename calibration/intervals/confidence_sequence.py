"""Confidence sequences: intervals that hold at every look at once, computed from sums alone.

A 95 % interval is wrong at one look in twenty. Whoever looks every day is therefore misled sooner
or later. A 95 % confidence sequence is wrong at *any* look, ever, for at most one stream in twenty.
The price is width: about 1.5 to 2.5 times that of the interval.

Both sequences invert a test by betting. For each candidate mean m there is a capital that cannot
grow on average if m is the mean, so it reaches 1 / alpha with a probability of at most alpha
(Ville). The interval is every m whose capital stays below. The order of the labels does not enter,
so sums suffice.

Sources: Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021, "Time-uniform, nonparametric,
nonasymptotic confidence sequences"; Fan, Grama and Liu 2015 (the inequality behind `gap_sequence`);
Waudby-Smith and Ramdas 2023.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from calibration.binomial import tail
from calibration.bins import FloatArray
from calibration.measures.metrics import Interval

_ALPHA = 0.05  # of the sequences of gaps
_STEPS = 40  # bisections; each halves the error
_ROUNDS = 9  # each divides the error by 8
_CANDIDATES = np.linspace(0.0, 1.0, 9)[:, None]  # of the way inward
_BETS = np.geomspace(0.005, 0.9, 12)  # sizes of the bets on a gap, equal shares of the capital


def accuracy_sequence(n: float, correct: float, *, alpha: float = 0.05) -> Interval:
    """Return the confidence sequence of a share, after n labels of which `correct` were right.

    The capital of a candidate p is the likelihood of the labels under a uniform mixture of all
    shares, divided by their likelihood under p. It assumes that labels come independently with one
    share p. If each patient counts once, n are patients, and of one the share of the images is
    correct.

    Alpha, in (0, 1), is the probability that the sequence ever misses p. ValueError out of range.

    One right answer: the capital is (1/2) / p, which is below 20 for p > 1/40.

    >>> lower, upper = accuracy_sequence(1, 1)
    >>> round(lower, 6), upper
    (0.025, 1.0)
    """
    _check(n, alpha, correct)
    each = (np.array([value], dtype=np.float64) for value in (n, correct, alpha))
    return accuracy_sequences(*each)[0]


def accuracy_sequences(n: FloatArray, correct: FloatArray, alpha: FloatArray) -> list[Interval]:
    """Return those of G shares, each (G,) as above."""
    center = np.where(n > 0, correct / np.maximum(n, 1e-12), 0.5)
    mixtures = map(_log_beta, n.tolist(), correct.tolist())
    most = np.array([*mixtures]) + np.log(alpha)
    hits, misses, most = (np.tile(each, 2) for each in (correct, n - correct, -most))

    def capital(p: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            right, wrong = hits * np.log(p), misses * np.log1p(-p)
        return -np.where(hits > 0, right, 0.0) - np.where(misses > 0, wrong, 0.0)

    ends = _outermost(capital, most, np.tile(center, 2), np.repeat([0.0, 1.0], len(n)))
    return [Interval(*each) for each in ends.reshape(2, -1).T.tolist()]


def accuracy_evidence(n: float, correct: float, share: float) -> float:
    """Return the log of the capital against one share in (0, 1), excluded from log(1 / alpha) on.

    >>> round(accuracy_evidence(1, 1, 0.025), 6) == round(math.log(20), 6)
    True
    """
    likelihood = correct * math.log(share) + (n - correct) * math.log1p(-share)
    return _log_beta(n, correct) - likelihood


def gap_sequences(n: int, gaps: FloatArray, squares: FloatArray) -> list[Interval]:
    """Return 95 % confidence sequences of K means of confidence - correct, in [-1, 1].

    The capital of a candidate m is the mean over bet sizes b and both sides of

        exp(b sum(d - m) / s - (-b - log(1 - b)) sum(d - m)^2 / s^2)

    and the same with both signs changed. There s = max(1, 1 + m) is at least the distance of d from
    m on the losing side; with the signs changed it is max(1, 1 - m). It assumes that the labels
    come with one mean.

    `gaps` and `squares` (K,) are the sums of d and d^2 of n labels, each d in [-1, 1].

    >>> gap_sequences(0, np.zeros(1), np.zeros(1))
    [Interval(lower=-1.0, upper=1.0)]
    >>> [(lower, upper)] = gap_sequences(1000, np.array([0.0]), np.array([150.0]))
    >>> round(lower, 3) == -round(upper, 3), 0.04 < upper < 0.06
    (True, True)
    """
    centers = np.clip(gaps / max(n, 1), -1.0, 1.0)
    inside, gap, squared = (np.tile(each, 2) for each in (centers, gaps, squares))
    outside = np.repeat([-1.0, 1.0], len(gaps))

    def capital(m: FloatArray) -> FloatArray:
        return _gap_capital(m, n=n, gap=gap, squared=squared)

    ends = _outermost(capital, math.log(1 / _ALPHA), inside, outside).reshape(2, -1)
    return [Interval(*each) for each in ends.T.tolist()]


@lru_cache(maxsize=256)
def share_interval(n: int, correct: float, *, alpha: float = 0.05) -> Interval:
    """Return the interval of Clopper and Pearson for a share: exact, and for one look.

    For data that were collected once, as a card's reference. Arguments and errors as in
    `accuracy_sequence`.

    All of two answers right: the lower end is the p with p^2 = 0.025.

    >>> lower, upper = share_interval(2, 2)
    >>> round(lower**2, 6), upper
    (0.025, 1.0)
    """
    _check(n, alpha, correct)
    if n == 0:
        return Interval(0.0, 1.0)
    right = round(correct)
    lower = _first(lambda p: tail(right, n, p) >= alpha / 2, inside=right / n, outside=0.0)
    upper = _first(lambda p: tail(n - right, n, 1 - p) >= alpha / 2, inside=right / n, outside=1.0)
    return Interval(lower, upper)


def _check(n: float, alpha: float, correct: float = 0) -> None:
    if n < 0 or not 0 < alpha < 1:
        raise ValueError(f"n must be at least 0 and alpha in (0, 1); got {n} and {alpha}")
    if not 0 <= correct <= n:
        raise ValueError(f"correct must be in [0, n]; got {correct} of {n}")


def _log_beta(n: float, correct: float) -> float:
    """Log likelihood of labels under a uniform mixture of all shares."""
    return math.lgamma(correct + 1) + math.lgamma(n - correct + 1) - math.lgamma(n + 2)


def _gap_capital(m: FloatArray, *, n: int, gap: FloatArray, squared: FloatArray) -> FloatArray:
    """Log of the capital of the candidate means m, shape (M, E), of E sums (E,)."""
    centered = np.maximum(0.0, squared - 2 * m * gap + n * m * m)
    logs, bets = [], _BETS[:, None, None]
    for side in (1, -1):
        scale = np.maximum(1.0, 1 + side * m)
        won, lost = side * (gap - n * m) / scale, centered / scale**2
        logs.append(bets * won + (bets + np.log1p(-bets)) * lost)
    every = np.concatenate(logs)
    top = every.max(axis=0)
    return np.asarray(top + np.log(np.exp(every - top).mean(axis=0)))


def _outermost(
    capital: Callable[[FloatArray], FloatArray],
    most: float | FloatArray,
    inside: FloatArray,
    outside: FloatArray,
) -> FloatArray:
    """The candidates (E,) nearest to `outside` (E,) with a capital below `most`, as `inside` (E,)
    has.
    """
    each = np.arange(len(inside))
    for _ in range(_ROUNDS):
        candidates = outside + _CANDIDATES * (inside - outside)  # (M, E)
        below = capital(candidates) < most
        below[-1] = True
        at = below.argmax(axis=0)
        outside, inside = candidates[np.maximum(at - 1, 0), each], candidates[at, each]
    return outside


def _first(holds: Callable[[float], bool], *, inside: float, outside: float) -> float:
    """The end, on the side of `outside`, of the candidates that hold; found by bisection."""
    if holds(outside):
        return outside
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return outside
