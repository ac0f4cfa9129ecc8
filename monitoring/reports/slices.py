"""Figures by predicted class, by the caller's tags, and, for information, by true class.

The diagnosis says which of them are affected; these are what to look up. The true class is not
known when the model answers: a calibrated model that misses some of the ill is right less often
than its confidence among the truly ill, and more often among the truly healthy. By true class the
figures show recall, not calibration.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from calibration.measures import metrics
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.sum_tables import AUDIT
from monitoring.ledger.sums import LedgerSums

_TRUE, _KNOWN = "true:", ("predicted:", "tag:")


@dataclass(frozen=True)
class Slice:
    """One slice.

    Attributes:
        name: `predicted:<class>`, `tag:<key>=<value>` or `true:<class>`.
        served: answers, labeled or not; 0 by true class, which is known only from labels.
        n: labeled answers.
        signed_gap: mean confidence minus accuracy; `gap_lower`, `gap_upper`: its 95 % interval.
    """

    name: str
    served: int
    n: int
    accuracy: float
    mean_confidence: float
    ece: float
    noise_floor: float
    signed_gap: float
    gap_lower: float
    gap_upper: float


@dataclass(frozen=True)
class Slices:
    """The slices of a window. `known`, known when the model answers: largest sure gap first."""

    known: tuple[Slice, ...]
    by_true_class: tuple[Slice, ...]


def measure_slices(sums: Mapping[str, LedgerSums]) -> Slices:
    """Measure slices by name; other names are ignored."""
    named = {name: each for name, each in sums.items() if name not in (EVERYTHING, AUDIT)}
    known = [measure_slice(name, each) for name, each in named.items() if name.startswith(_KNOWN)]
    by_true = [
        measure_slice(name, each)
        for name, each in named.items()
        if name.startswith(_TRUE) and each.labeled.total
    ]
    return Slices(
        tuple(sorted(known, key=_least_sure)), tuple(sorted(by_true, key=lambda each: each.name))
    )


def _least_sure(each: Slice) -> tuple[float, str]:
    sure = max(each.gap_lower, -each.gap_upper) if math.isfinite(each.gap_lower) else -math.inf
    return -sure, each.name


def measure_slice(name: str, sums: LedgerSums) -> Slice:
    labeled = sums.labeled
    return Slice(
        name=name,
        served=int(sums.served.sum()),
        n=labeled.total,
        accuracy=metrics.accuracy(labeled),
        mean_confidence=metrics.mean_confidence(labeled),
        ece=metrics.ece(labeled),
        noise_floor=metrics.noise_floor(labeled),
        signed_gap=metrics.signed_gap(labeled),
        gap_lower=metrics.signed_gap_interval(labeled).lower,
        gap_upper=metrics.signed_gap_interval(labeled).upper,
    )
