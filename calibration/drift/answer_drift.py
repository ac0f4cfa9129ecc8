"""Has the distribution of answers changed? A sequential test against a finite reference.

An answer is its predicted class and its confidence bin, a coarse logit. Each *view* orders these
cells by one number, so that an answer has a rank among all earlier answers, reference included.
Ties are broken at random. As long as reference and answers come in random order from one
population, whatever it is, these ranks are independent and uniform (conformal p-values; Vovk,
Gammerman and Shafer 2005). So the reference may be small, or empty: its estimation error is part of
the rank. Betting on the ranks is a test martingale (Vovk, Nouretdinov and Gammerman 2003; for
two-sample tests by betting see Shekhar and Ramdas 2023).

Each bet multiplies its stake by a density on [0, 1], which is 1 on average. A new stake w_n begins
with each answer, because a change may come late: M <- e (M + w_n), with stakes that add up to 1.
The evidence is the mean of M over views and bets, plus the stakes that have not begun. It is an
e-process: while nothing changes, the probability that it *ever* reaches 1 / alpha is at most alpha,
however often anyone looks, for all views together.

A change that comes slowly is absorbed, since every answer joins those among which the next ones are
ranked. Images of one patient come in bursts, not in random order, and break the promise: give one
of each (`monitoring.ledger.days.read_answers_by_day`).
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, FloatArray, IntArray

ALPHA = 0.01
BETS_A_DAY = 200  # answers of a day that are bet on, drawn at random; all of them join the ranks
KINDS = ("higher", "higher", "lower", "lower", "more extreme", "less extreme", "higher", "lower")
_SLOW = 500  # bets after which half of the stakes have begun


@dataclass(frozen=True)
class AnswerDrift:
    """The evidence that the answers have changed.

    Attributes:
        log_evalue: now; `log_threshold`: where the sign is raised for good.
        raised_on: the day on which it first got there, in days since 1970; None if it never did.
        bets: answers bet on; `answers`: all answers; `reference`: those of the reference.
        view: index of the view with the most evidence, when it was raised or else now; `kind`: one
            of KINDS.
    """

    log_evalue: float
    log_threshold: float
    raised_on: int | None
    bets: int
    answers: int
    reference: int
    view: int
    kind: str


def views(class_count: int) -> IntArray:
    """Return the rank of each cell in each view, (V, K * BIN_COUNT), cells by class, then bin.

    Two classes have one view: from sure of the first to sure of the second. More have one view for
    each class, from any other answer to sure of that class, and a last one for confidence, whatever
    the class.

    >>> # unsure and sure of the first class, unsure and sure of the second
    >>> views(2)[0, [0, 14, 15, 29]].tolist()
    [14, 0, 15, 29]
    """
    predicted, bins = np.divmod(np.arange(class_count * BIN_COUNT), BIN_COUNT)
    if class_count == 2:
        return np.where(predicted == 0, BIN_COUNT - 1 - bins, BIN_COUNT + bins)[None, :]
    by_class = [np.where(predicted == each, bins + 1, 0) for each in range(class_count)]
    return np.stack([*by_class, bins])


def count_answers(predicted: npt.ArrayLike, bins: npt.ArrayLike, class_count: int) -> IntArray:
    """Count answers (N,) by predicted class and confidence bin, (K, BIN_COUNT).

    >>> count_answers([1, 1, 0], [14, 14, 8], 2)[:, [8, 14]].tolist()
    [[1, 0], [0, 2]]
    """
    counts = np.zeros((class_count, BIN_COUNT), dtype=np.int64)
    np.add.at(counts, (np.asarray(predicted, dtype=np.int64), np.asarray(bins)), 1)
    return counts


def follow(
    reference: npt.ArrayLike,
    days: Iterable[tuple[int, npt.ArrayLike]],
    *,
    seed: str,
) -> AnswerDrift:
    """Bet on the answers of each day against all before.

    Args:
        reference: (K, BIN_COUNT) answers by predicted class and confidence bin, or zeros.
        days: (day, counts of the same shape), in order; a day must be complete.
        seed: fixes the order within a day and the ties, so the same days give the same evidence.

    First answers of all confidences, then sure ones of the second class only:

    >>> calm, sure = np.full((2, 15), 20), np.zeros((2, 15))
    >>> sure[1, 14] = 100
    >>> found = follow(calm, [(1, sure)], seed="example")
    >>> found.raised_on, found.kind
    (1, 'higher')
    """
    known = np.asarray(reference, dtype=np.int64)
    ranks = views(len(known))
    bag = _by_rank(known.ravel(), ranks)
    log_m = np.full((len(ranks), len(KINDS)), -np.inf)
    bets, answers, raised, best, total = 0, 0, None, None, 0.0
    for day, counts in days:
        cells = np.asarray(counts, dtype=np.int64).ravel()
        drawn = _drawn(cells, f"{seed} {day}")
        if len(drawn):
            trace, totals = _run(
                log_m, _log_bets(_p_values(bag, ranks[:, drawn], f"{seed} {day}")), bets
            )
            log_m, total, bets = trace[-1], float(totals[-1]), bets + len(drawn)
            over = np.flatnonzero(totals >= math.log(1 / ALPHA))
            if raised is None and len(over):
                raised, best = day, int(trace[over[0]].argmax())
        bag, answers = bag + _by_rank(cells, ranks), answers + int(cells.sum())
    view, bet = divmod(int(log_m.argmax()) if best is None else best, len(KINDS))
    return AnswerDrift(
        log_evalue=total,
        log_threshold=math.log(1 / ALPHA),
        raised_on=raised,
        bets=bets,
        answers=answers,
        reference=int(known.sum()),
        view=view,
        kind=KINDS[bet],
    )


def _run(log_m: FloatArray, log_bets: FloatArray, bets: int) -> tuple[FloatArray, FloatArray]:
    """Run M <- e (M + w) over a day, in logs: M (n, V, B) after each answer, evidence (n,).

    With L the running sum of log e, M_n = exp(L_n) (M_0 + sum of w_k exp(-L_(k-1))).
    """
    number = bets + np.arange(1, len(log_bets) + 1)
    stakes = math.log(_SLOW) - np.log((number - 1 + _SLOW) * (number + _SLOW))
    so_far = np.cumsum(log_bets, axis=0)
    begun = stakes[:, None, None] - (so_far - log_bets)
    trace = so_far + np.logaddexp.accumulate(np.concatenate([log_m[None], begun]), axis=0)[1:]
    mean = np.logaddexp.reduce(trace.reshape(len(trace), -1), axis=1) - math.log(log_m.size)
    return trace, np.logaddexp(mean, np.log(_SLOW / (number + _SLOW)))


def _by_rank(cells: IntArray, ranks: IntArray) -> IntArray:
    """Counts by rank, (V, C), of counts by cell, (C,)."""
    size = int(ranks.max()) + 1
    return np.stack([np.bincount(each, weights=cells, minlength=size) for each in ranks]).astype(
        np.int64
    )


def _drawn(cells: IntArray, seed: str) -> IntArray:
    """At most BETS_A_DAY cells of a day's answers, drawn without replacement, in random order."""
    n = int(cells.sum())
    if n <= 4 * BETS_A_DAY:
        places = np.argsort(_uniforms(seed, n), kind="stable")
    else:  # many answers: draw places, and leave out those drawn before
        drawn = (_uniforms(seed, 2 * BETS_A_DAY) * n).astype(np.int64)
        places = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return np.searchsorted(np.cumsum(cells), places[:BETS_A_DAY], side="right")


def _p_values(bag: IntArray, drawn: IntArray, seed: str) -> FloatArray:
    """Randomized ranks (n, V) in (0, 1) of the drawn answers, (V, n); small means high."""
    found = []
    for number, (counts, view) in enumerate(zip(bag, drawn, strict=True)):
        one_hot = (view[:, None] == np.arange(len(counts))).astype(np.int64)  # (n, C)
        before = counts + np.cumsum(one_hot, axis=0) - one_hot
        same = np.take_along_axis(before, view[:, None], axis=1)[:, 0]
        above = (before * (np.arange(len(counts)) > view[:, None])).sum(axis=1)
        found.append(
            (above + _uniforms(f"{seed} {number}", len(view)) * (same + 1))
            / (before.sum(axis=1) + 1)
        )
    return np.stack(found, axis=1)


def _log_bets(p: FloatArray) -> FloatArray:
    """Logs (n, V, B) of the bets in the order of KINDS, each a density of p on (0, 1)."""
    tilt, spread = 1 - 2 * p, 12 * (p - 0.5) ** 2 - 1
    low, high = 0.5 / np.sqrt(p), 0.5 / np.sqrt(1 - p)
    bets = (
        1 + 0.4 * tilt,
        1 + 0.9 * tilt,
        1 - 0.4 * tilt,
        1 - 0.9 * tilt,
        1 + 0.45 * spread,
        1 - 0.45 * spread,
    )
    return np.log(np.stack([*bets, low, high], axis=-1))


def _uniforms(seed: str, count: int) -> FloatArray:
    """Numbers in (0, 1) that depend on the seed alone, with every release of NumPy."""
    bits = np.frombuffer(hashlib.shake_128(seed.encode()).digest(8 * count), dtype="<u8")
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
