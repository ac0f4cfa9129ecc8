"""Are more images doubtful than promised? An e-process on the p-values, which needs no labels.

An image is doubtful if its p-value is at most alpha. Of images in scope this has a probability of
at most u, the upper end of the card's interval. Against that a likelihood ratio bets on shares
q > u: a day with k doubtful ones of n multiplies its stake by
(q / u)^k ((1 - q) / (1 - u))^(n - k), which is at most 1 on average as long as the share is at most
u. A new stake begins with each day, because a change may come late, and all stakes add up to 1. So
the evidence is an e-process: while the promise holds, it *ever* reaches 1 / level with a
probability of at most level, however often anyone looks (Ville 1939; Ramdas et al. 2023). Images of
one patient come in bursts and count as if they were independent, which makes evidence come too
early.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

LEVEL = 0.01  # the probability of ever raising the sign while the promise holds
TIMES = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)  # the odds of u: what the bets are on


@dataclass(frozen=True)
class DoubtfulEvidence:
    """The log of the evidence now, and the day on which it first sufficed, None if never."""

    log_evalue: float
    raised_on: int | None


def follow_doubtful(days: Iterable[tuple[int, int, int]], share: float) -> DoubtfulEvidence:
    """Return the evidence that more than `share`, in (0, 1), of the images are doubtful.

    Days are (day, images, doubtful ones), whole and in their order. The sign is raised at 1 /
    LEVEL.

    >>> follow_doubtful([(1, 100, 5), (2, 100, 6)], 0.08).raised_on
    >>> follow_doubtful([(1, 100, 5), (2, 100, 60)], 0.08).raised_on
    2
    """
    odds = share / (1 - share) * np.array(TIMES)
    bets = odds / (1 + odds)
    won, lost = np.log(bets / share), np.log((1 - bets) / (1 - share))
    log_m, evidence, raised = np.full(len(bets), -np.inf), 0.0, None
    for number, (day, images, doubtful) in enumerate(days, start=1):
        stake = -math.log(number * (number + 1))  # 1/2, 1/6, ...: what is left is 1/(number + 1)
        log_m = np.logaddexp(log_m, stake) + doubtful * won + (images - doubtful) * lost
        mean = np.logaddexp.reduce(log_m) - math.log(len(bets))
        evidence = float(np.logaddexp(mean, -math.log(number + 1)))
        if raised is None and evidence >= math.log(1 / LEVEL):
            raised = day
    return DoubtfulEvidence(evidence, raised)
