"""Calibration by predicted class, by the caller's tags, and, for information, by true class.

A calibrated model is calibrated within every slice that is known when it answers: predicted class,
site, device. Each slice is tested by z = D / sqrt(V), with D = sum(correct - confidence) and V =
sum p(1-p). With m slices, Holm's step-down procedure keeps the probability of any false finding at
5 %, for one look. Slices are ordered by the smallest gap that is consistent with the labels: the
end nearer to 0 of a simultaneous (Bonferroni) interval.

The true class is not known when the model answers. A calibrated model that misses some of the ill
is right less often than its confidence among the truly ill, and more often among the truly healthy.
By true class the figures show recall, not calibration, and are not tested.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from calibration.measures import metrics
from monitoring.findings.audit import FEW_LABELS
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.slices import AUDIT
from monitoring.ledger.sums import LedgerSums

LEVEL = 0.05
# Below this sum of p(1-p) the normal approximation is too optimistic: not tested.
ENOUGH_VARIANCE = 5.0
_TRUE, _PREDICTED, _TAG = "true:", "predicted:", "tag:"


@dataclass(frozen=True)
class Slice:
    """One slice. NaN for the test of untested ones (too few labels, or by true class).

    Attributes:
        name: `predicted:<class>`, `tag:<key>=<value>` or `true:<class>`.
        served: answers, labeled or not; 0 by true class, which is known only from labels.
        n: labeled answers.
        signed_gap: mean confidence minus accuracy.
        gap_lower, gap_upper: its simultaneous 95 % interval over all tested slices.
        at_least: distance of that interval from 0; slices are ordered by it.
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
        """Whether it had enough labels to be tested."""
        return math.isfinite(self.p_value)


@dataclass(frozen=True)
class Slices:
    """`known`: by predicted class and tag, worst first; `tested`: how many were tested."""

    known: tuple[Slice, ...]
    by_true_class: tuple[Slice, ...]
    tested: int

    @property
    def significant(self) -> tuple[Slice, ...]:
        """The slices whose gap is significant after correction for their number."""
        return tuple(each for each in self.known if each.significant)


def find_slices(sums: Mapping[str, LedgerSums]) -> Slices:
    """Measure, test and order slices, as `monitoring.ledger.sums.read_slices` gives them."""
    named = {name: each for name, each in sums.items() if name not in (EVERYTHING, AUDIT)}
    known = {name: each for name, each in named.items() if name.startswith((_PREDICTED, _TAG))}
    # By what tells the slices apart: each label has one value of it at most.
    labels: dict[str, int] = defaultdict(int)
    for name, each in known.items():
        labels[name.partition("=" if name.startswith(_TAG) else ":")[0]] += each.labeled.total
    enough = {
        name: each for name, each in known.items() if each.labeled.variance.sum() >= ENOUGH_VARIANCE
    }
    tested = (
        {name: _p_value(each) for name, each in enough.items()}
        if max(labels.values(), default=0) >= FEW_LABELS
        else {}
    )
    adjusted = holm(tested)
    found = [
        _slice(name, each, p_value=adjusted.get(name), tested=len(tested))
        for name, each in known.items()
    ]
    by_true = [
        _slice(name, each)
        for name, each in named.items()
        if name.startswith(_TRUE) and each.labeled.total
    ]
    worst_first = sorted(
        found,
        key=lambda each: (-each.at_least, _or(each.p_value, 2.0), -abs(_or(each.signed_gap, 0))),
    )
    return Slices(
        tuple(worst_first), tuple(sorted(by_true, key=lambda each: each.name)), len(tested)
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values (Holm 1979): 0.05 bounds the probability of any false finding.

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
    lower, upper = metrics.signed_gap_interval(labeled, level=1 - LEVEL / tested)
    return replace(
        measured,
        gap_lower=lower,
        gap_upper=upper,
        at_least=max(lower, -upper, 0.0),
        p_value=p_value,
        significant=p_value < LEVEL,
    )


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise
