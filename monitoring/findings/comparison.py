"""Live figures against the card's reference: the difference, and whether it is more than chance.

Both are samples; the few hundred answers of the reference are as uncertain as the live ones. The
figures "as served" are post-stratified, because labels that favor answers of low confidence show an
accuracy that fell by selection alone. They are NaN where 5 % of the answers or more have a
confidence at which none is labeled.

The test holds for one look. Looking every day gives five false findings in a hundred days, so the
drift alarm does not work like this.
"""

import math
from dataclasses import dataclass

from calibration.bins import BinSums
from calibration.measures import metrics
from calibration.measures.metrics import Z95
from monitoring.findings.post_stratification import PostStratified, post_stratify

_COVERED = 0.95  # of the answers served: a smaller share says too little about all of them


@dataclass(frozen=True)
class CardDifference:
    """Live minus reference with its 95 % interval; `significant` if the interval excludes 0."""

    live: float
    reference: float
    difference: float
    lower: float
    upper: float
    significant: bool


@dataclass(frozen=True)
class CardComparison:
    """The figures "as served" give each confidence the weight of the answers served with it."""

    accuracy: CardDifference
    signed_gap: CardDifference
    accuracy_as_served: CardDifference
    signed_gap_as_served: CardDifference


def compare(
    live: BinSums, reference: BinSums, as_served: PostStratified | None = None
) -> CardComparison:
    """Compare live sums with the reference's. NaN, and not significant, where either is empty.

    `as_served` is `live` weighted by what was served; by default the labels are taken for a fair
    sample.
    """
    weighted = as_served or post_stratify(live, live.n)
    is_known = weighted.covered > _COVERED
    accuracy, spread = metrics.accuracy(reference), _accuracy_variance(reference)
    gap, gap_spread = metrics.signed_gap(reference), metrics.signed_gap_variance(reference)
    return CardComparison(
        accuracy=_compared(metrics.accuracy(live), accuracy, _accuracy_variance(live) + spread),
        signed_gap=_compared(
            metrics.signed_gap(live), gap, metrics.signed_gap_variance(live) + gap_spread
        ),
        accuracy_as_served=_compared(
            weighted.accuracy if is_known else math.nan,
            accuracy,
            weighted.accuracy_deviation**2 + spread,
        ),
        signed_gap_as_served=_compared(
            weighted.signed_gap if is_known else math.nan,
            gap,
            weighted.signed_gap_deviation**2 + gap_spread,
        ),
    )


def _compared(now: float, then: float, variance: float) -> CardDifference:
    half = Z95 * math.sqrt(variance)
    lower, upper = now - then - half, now - then + half
    return CardDifference(now, then, now - then, lower, upper, lower > 0 or upper < 0)


def _accuracy_variance(sums: BinSums) -> float:
    """Variance of a proportion; a right and a wrong answer are added, so 100 % is not certain."""
    p = (float(sums.correct.sum()) + 1) / (sums.total + 2)
    return p * (1 - p) / sums.total if sums.total else math.nan
