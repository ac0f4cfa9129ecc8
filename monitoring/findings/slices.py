"""For whom: calibration by predicted class, by the caller's tags, and, with a warning, by true class.

A calibrated model is calibrated within every slice that is known when it answers: the class it says, the site, the
device. Each such slice is tested by z = D / sqrt(V), D = correct - confidence summed, V = sum p(1-p); with m slices
Holm's step-down keeps the chance of any false finding, at one look, at 5 %. Slices are ordered by how far off they are
at least: the nearer end of an interval that holds for all m at once (Bonferroni).

The true class is not known when the model answers. Among the truly ill a calibrated model is right less often than it
says whenever it misses some, and among the truly healthy more often: these rows show recall, not calibration, and are
not tested.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from calibration import metrics
from monitoring.ledger.slices import AUDIT, EVERYTHING
from monitoring.ledger.sums import LedgerSums

LEVEL = 0.05
ENOUGH_VARIANCE = 5.0  # below this sum of p(1-p) the normal approximation says too much: not tested
_TRUE, _PREDICTED, _TAG = "true:", "predicted:", "tag:"


@dataclass(frozen=True)
class Slice:
    """One slice. Untested ones (too few labels, or by true class) have NaN in place of what a test gives.

    Attributes:
        name: `predicted:<class>`, `tag:<key>=<value>` or `true:<class>`.
        served: answers, labeled or not; 0 by true class, which only labels tell.
        n: labeled answers.
        signed_gap: mean confidence minus accuracy.
        gap_lower, gap_upper: an interval of it that holds for all tested slices at once with 95 %.
        at_least: how far from 0 the gap is at least, by that interval; what slices are ordered by.
        p_value: adjusted by Holm.
        significant: p_value < 0.05.
    """

    name: str
    served: int
    n: int
    accuracy: float
    mean_confidence: float
    ece: float
    noise_floor: float
    signed_gap: float
    gap_lower: float = math.nan
    gap_upper: float = math.nan
    at_least: float = 0.0
    p_value: float = math.nan
    significant: bool = False

    @property
    def is_tested(self) -> bool:
        """Whether it had labels enough to be tested."""
        return math.isfinite(self.p_value)


@dataclass(frozen=True)
class Slices:
    """`known`: by predicted class and tag, worst first; `by_true_class`: for information; `tested`: m."""

    known: tuple[Slice, ...]
    by_true_class: tuple[Slice, ...]
    tested: int

    @property
    def significant(self) -> tuple[Slice, ...]:
        """Those that are off by more than chance, looking at all of them once."""
        return tuple(each for each in self.known if each.significant)


def find_slices(sums: Mapping[str, LedgerSums]) -> Slices:
    """Measure, test and order the slices of a calibration, as `monitoring.ledger.sums.read_slices` gives them."""
    named = {name: each for name, each in sums.items() if name not in (EVERYTHING, AUDIT)}
    known = {name: each for name, each in named.items() if name.startswith((_PREDICTED, _TAG))}
    tested = {name: _p_value(each) for name, each in known.items() if each.labeled.variance.sum() >= ENOUGH_VARIANCE}
    adjusted = holm(tested)
    found = [_slice(name, each, p_value=adjusted.get(name), tested=len(tested)) for name, each in known.items()]
    by_true = [_slice(name, each) for name, each in named.items() if name.startswith(_TRUE) and each.labeled.total]
    worst_first = sorted(
        found, key=lambda each: (-each.at_least, _or(each.p_value, 2.0), -abs(_or(each.signed_gap, 0)))
    )
    return Slices(tuple(worst_first), tuple(sorted(by_true, key=lambda each: each.name)), len(tested))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for their number (Holm 1979): those below .05 have a 5 % chance of any false one among them.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.5})
    {'a': 0.03, 'b': 0.08, 'c': 0.5}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for index, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        largest = max(largest, min(1.0, p * (len(p_values) - index)))
        adjusted[name] = largest
    return adjusted


def _p_value(sums: LedgerSums) -> float:
    z = float(sums.labeled.difference.sum()) / math.sqrt(float(sums.labeled.variance.sum()))
    return math.erfc(abs(z) / math.sqrt(2))


def _slice(name: str, sums: LedgerSums, *, p_value: float | None = None, tested: int = 0) -> Slice:
    labeled = sums.labeled
    gap = metrics.signed_gap(labeled)
    measured = Slice(
        name=name,
        served=int(sums.served.sum()),
        n=labeled.total,
        accuracy=metrics.accuracy(labeled),
        mean_confidence=metrics.mean_confidence(labeled),
        ece=metrics.ece(labeled),
        noise_floor=metrics.noise_floor(labeled),
        signed_gap=gap,
    )
    if p_value is None:
        return measured
    one = metrics.signed_gap_interval(labeled)
    wider = NormalDist().inv_cdf(1 - LEVEL / (2 * tested)) / metrics.Z95
    lower, upper = gap - (gap - one.lower) * wider, gap + (one.upper - gap) * wider
    return Slice(
        **{field: getattr(measured, field) for field in _MEASURED},
        gap_lower=lower,
        gap_upper=upper,
        at_least=max(lower, -upper, 0.0),
        p_value=p_value,
        significant=p_value < LEVEL,
    )


_MEASURED = ("name", "served", "n", "accuracy", "mean_confidence", "ece", "noise_floor", "signed_gap")


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise
