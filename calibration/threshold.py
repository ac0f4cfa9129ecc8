"""The referral threshold: below it an answer goes to a person; above it an accuracy is promised.

Learn-then-Test (Angelopoulos et al. 2021) with fixed-sequence testing: thresholds are tested from the strictest down,
each by an exact binomial tail, and testing stops at the first that fails. So with probability 1 - delta over the
labeled sample, answers at or above the returned threshold are right at least as often as promised, as long as new
answers come from the distribution of the sample.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CANDIDATES = tuple(round(t / 100, 2) for t in range(99, -1, -1))


@dataclass(frozen=True)
class Threshold:
    """Refer answers whose confidence is below `confidence`; the rest, a fraction `coverage`, keep the promise."""

    confidence: float
    promised_accuracy: float
    delta: float
    coverage: float


def referral_threshold(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, promised_accuracy: float, delta: float = 0.05
) -> Threshold | None:
    """Return the lowest threshold that can be certified, or None when no promise can be made.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) bool.
        promised_accuracy: in (0, 1).
        delta: in (0, 1), the probability, over samples, that the promise is false.

    Raises:
        ValueError: promised_accuracy or delta outside (0, 1).

    >>> referral_threshold([0.9] * 100, [True] * 100, promised_accuracy=0.95).coverage
    1.0
    >>> referral_threshold([0.9] * 10, [True] * 10, promised_accuracy=0.95) is None   # ten answers prove nothing
    True
    """
    if not (0 < promised_accuracy < 1 and 0 < delta < 1):
        raise ValueError(f"promised_accuracy and delta must lie in (0, 1); got {promised_accuracy} and {delta}")
    p, c = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    needed = math.log(delta) / math.log(promised_accuracy)  # fewer answers than this cannot pass even if all are right
    certified: Threshold | None = None
    for candidate in CANDIDATES:
        above = p >= candidate
        n = int(above.sum())
        if n < needed:  # depends on confidences alone, so skipping costs no error probability
            continue
        if _binomial_tail(int(c[above].sum()), n, promised_accuracy) > delta:
            break
        certified = Threshold(candidate, promised_accuracy, delta, n / len(p))
    return certified


def _binomial_tail(successes: int, n: int, probability: float) -> float:
    """P(X >= successes) for X ~ Binomial(n, probability), 0 < probability < 1."""
    k = np.arange(successes, n + 1)
    log_choose = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])
    return float(np.exp(log_choose + k * math.log(probability) + (n - k) * math.log1p(-probability)).sum())
