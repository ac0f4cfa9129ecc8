"""The referral threshold: answers below it go to a person; for the others an accuracy is promised.

Learn-then-Test (Angelopoulos et al. 2021) with fixed-sequence testing: thresholds are tested
downward, each by an exact binomial tail, and testing stops at the first that fails. So with
probability 1 - delta over the labeled sample, answers at or above the returned threshold are right
at least as often as promised, as long as new answers come from the distribution of the sample.

The strictest thresholds have few answers above them and fail by chance. Testing therefore starts
where it would most likely pass if the confidences were true. The confidences alone decide that, so
it spends nothing of delta.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from calibration.binomial import pmf, tail

CANDIDATES = tuple(round(t / 100, 2) for t in range(99, -1, -1))


@dataclass(frozen=True)
class Threshold:
    """Answers with less `confidence` are referred; the share `coverage` keeps the promise."""

    confidence: float
    promised_accuracy: float
    delta: float
    coverage: float


def referral_threshold(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    promised_accuracy: float,
    delta: float = 0.05,
) -> Threshold | None:
    """Return the lowest threshold that can be certified, or None if no promise can be made.

    `delta` is the probability over samples that the promise is false. ValueError if it or the
    promised accuracy is outside (0, 1).

    >>> referral_threshold([0.9] * 100, [True] * 100, promised_accuracy=0.95).coverage
    1.0
    >>> # ten answers prove nothing
    >>> referral_threshold([0.9] * 10, [True] * 10, promised_accuracy=0.95) is None
    True
    """
    if not (0 < promised_accuracy < 1 and 0 < delta < 1):
        raise ValueError(
            f"promised_accuracy and delta must be in (0, 1); got {promised_accuracy} and {delta}"
        )
    p, c = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    certified: Threshold | None = None
    for candidate in CANDIDATES[_start(p, promised_accuracy, delta) :]:
        above = p >= candidate
        n = int(above.sum())
        # the same answers, so the same result
        if certified and n == round(certified.coverage * len(p)):
            certified = replace(certified, confidence=candidate)
            continue
        if tail(int(c[above].sum()), n, promised_accuracy) > delta:
            break
        certified = Threshold(candidate, promised_accuracy, delta, n / len(p))
    return certified


def _start(p: npt.NDArray[np.float64], promised_accuracy: float, delta: float) -> int:
    """Index of the candidate whose test has most power if the confidences p (N,) are true."""
    falling = np.sort(p)[::-1]
    # answers at or above each candidate
    kept = np.searchsorted(-falling, -np.array(CANDIDATES), side="right")
    sums, powers = np.append(0.0, np.cumsum(falling)), np.zeros(len(CANDIDATES))
    # fewer answers cannot pass even if all are right
    needed = math.log(delta) / math.log(promised_accuracy)
    for i in np.flatnonzero((np.diff(kept, prepend=0) > 0) & (kept >= needed)):
        powers[i] = _power(int(kept[i]), float(sums[kept[i]] / kept[i]), promised_accuracy, delta)
    return int(np.argmax(powers))


def _power(n: int, accuracy: float, promised_accuracy: float, delta: float) -> float:
    """P(the test of n answers passes) if this is their accuracy."""
    successes = np.arange(math.floor(n * promised_accuracy) if delta < 0.5 else 0, n + 1)
    tails = pmf(successes, n, promised_accuracy)[::-1].cumsum()[::-1]
    passing = successes[tails <= delta]
    return float(pmf(passing, n, accuracy).sum())
