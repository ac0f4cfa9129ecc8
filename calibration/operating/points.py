"""All facts about operating points, from served answers and their labels: sensitivity, specificity
and PPV against what a card promises, at every look at once.

If enough answers were drawn at random for an audit, their labels alone count. The labels of a
patient count as one: each is worth 1 / (that patient's labels of the rate). For a capital that is
convex in the outcome, a mean of dependent outcomes is no more than one of them, so the sequence
still holds (Jensen). The allowed error is shared out over rates, groups and the stretches of time
(`calibration.intervals.stretches`), so all of them together keep it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.groups import ALL
from calibration.diagnosis.planner import labels_until
from calibration.diagnosis.selection import missing_labels
from calibration.intervals.confidence_sequence import accuracy_sequences, share_interval
from calibration.intervals.stretches import Stretch, surest
from calibration.measures.estimates import IntervalEstimate
from calibration.operating.cases import Cases, divisions
from calibration.operating.claims import BinaryClaim, aurocs, claims_of, net_benefits
from calibration.operating.facts import LiveRate, OperatingPoints, Promise, RateName, RateStanding

ALPHA = 0.05
ODDS = 2.0  # factor on the odds within which a rate is as promised
_DAY_S = 86_400
Promises = Mapping[tuple[RateName, str], Promise]


@dataclass(frozen=True)
class RateBasis:
    """What rates are judged by.

    Attributes:
        keys: of tags whose values are judged by themselves.
        part: of the allowed error, that of this version or finding.
        first_day: UTC day since 1970 of the version's first answer.
        since_day: the first day of which every label is at hand; None if all are.
    """

    promises: Promises
    keys: tuple[str, ...]
    part: float
    first_day: int
    since_day: int | None
    reference: int


def promised(
    confusion: npt.ArrayLike, classes: tuple[str, ...]
) -> dict[tuple[RateName, str], Promise]:
    """Return what a reference's confusion matrix (K, K), a row per true class, promises.

    >>> promised([[90, 10], [5, 45]], ("normal", "ill"))[RateName.PPV, "ill"].value
    0.8181818181818182
    """
    counts = np.asarray(confusion, dtype=np.int64)
    hits, true, said, total = counts.diagonal(), counts.sum(1), counts.sum(0), counts.sum()
    found = {}
    for k, name in enumerate(classes):
        of_rates = {
            RateName.SENSITIVITY: (hits[k], true[k]),
            RateName.SPECIFICITY: (total - true[k] - said[k] + hits[k], total - true[k]),
            RateName.PPV: (hits[k], said[k]),
        }
        for rate, (right, n) in of_rates.items():
            if n:
                interval = share_interval(int(n), int(right))
                found[rate, name] = Promise(float(right / n), *interval, int(n))
    return found


def rates_of(
    answers: Answers,
    claims: list[BinaryClaim],
    labeled: BoolArray,
    basis: RateBasis,
    *,
    is_chosen: bool,
) -> list[LiveRate]:
    """Judge each rate of each claim, in all answers and in those with each value of a key.

    `labeled`: (N,) the answers whose labels count; `is_chosen`: they may be chosen by outcome.
    """
    found: list[LiveRate] = []
    for division in divisions(answers, basis.keys):
        alpha = ALPHA * basis.part * division.part / (len(claims) * len(RateName))
        rates = [
            _judged(Cases(division, claim, name, labeled), basis, alpha, is_chosen)
            for claim in claims
            for name in RateName
        ]
        found += chain.from_iterable(zip(*rates, strict=True))  # group by group
    return found


def _judged(cases: Cases, basis: RateBasis, alpha: float, is_chosen: bool) -> list[LiveRate]:
    """The rate of each group."""
    promise = basis.promises.get((cases.name, cases.claim.of))
    falls = _falls(cases, promise, basis, alpha)
    as_served = np.full(len(falls), math.nan)
    if is_chosen:
        falls, as_served = _as_served(cases, falls, promise, basis.since_day)
    n, right = cases.worth.since(basis.since_day)
    usual = [Stretch(basis.since_day, *each, ALPHA) for each in zip(n, right, strict=True)]
    shown = [fall or each for fall, each in zip(falls, usual, strict=True)]
    rates, needed = _estimates(shown), _needed(promise, alpha)
    found = []
    for group, (name, fall, each) in enumerate(
        zip(cases.division.groups, falls, shown, strict=True)
    ):
        standing = RateStanding.LOWER if fall else _unless_lower(rates[group], promise)
        is_open = standing is RateStanding.UNKNOWN
        more = math.ceil(max(0.0, needed - each.n)) if is_open else 0
        found.append(
            LiveRate(
                name=cases.name,
                of=cases.claim.of,
                group=name,
                standing=standing,
                n=cases.counted(group, each.day),
                rate=rates[group],
                since_s=None if each.day is None else float(each.day * _DAY_S),
                as_served=float(as_served[group]),
                promise=promise,
                more=more,
                more_labels=math.ceil(more / cases.share(group, promise, basis.reference)),
            )
        )
    return found


def _falls(
    cases: Cases, promise: Promise | None, basis: RateBasis, alpha: float
) -> list[Stretch | None]:
    """The fall of each group below its promise."""
    if promise is None:
        return [None] * len(cases.labels)
    return surest(
        cases.worth,
        promise.lower,
        below=True,
        alpha=alpha,
        first_day=basis.first_day,
        since_day=basis.since_day,
    )


def _as_served(
    cases: Cases, falls: list[Stretch | None], promise: Promise | None, since_day: int | None
) -> tuple[list[Stretch | None], FloatArray]:
    """The falls that the rates as served bear out, and these rates."""
    since, code = cases.division.since, cases.division.code
    as_served, kept = cases.as_served(since(since_day)), list[Stretch | None](falls)
    for group, fall in enumerate(falls):
        if fall is not None and promise is not None:
            of_fall = cases.as_served(since(fall.day) & (code == group))[group]
            if of_fall < promise.lower:
                as_served[group] = of_fall
            else:
                kept[group] = None
    return kept, as_served


def _estimates(shown: list[Stretch]) -> list[IntervalEstimate]:
    n, right, alpha = np.array([each[1:] for each in shown], dtype=np.float64).reshape(-1, 3).T
    right = np.minimum(right, n)
    with np.errstate(invalid="ignore"):
        share = right / n
    ends = accuracy_sequences(n, right, alpha)
    return [IntervalEstimate(each, *of) for each, of in zip(share.tolist(), ends, strict=True)]


def _unless_lower(rate: IntervalEstimate, promise: Promise | None) -> RateStanding:
    if promise is None or rate.upper < promise.lower:  # below it, though no alarm is sure of it
        return RateStanding.UNKNOWN
    is_close = 0 < _at_odds(promise.lower) <= rate.lower
    return RateStanding.AS_PROMISED if is_close else RateStanding.UNKNOWN


def _at_odds(share: float) -> float:
    """The share with half the odds: o / (ODDS + o), where o / (1 + o) is given."""
    return share / (share + ODDS * (1 - share))


def _needed(promise: Promise | None, alpha: float) -> float:
    """Cases until a fall to half the odds is known, or ruled out if there is none."""
    if promise is None or not promise.lower:
        return 0.0
    low, high = _at_odds(promise.lower), promise.value * (1 - 1 / (promise.n + 2))
    return max(_until(low, promise.lower, alpha / 2), _until(high, low, ALPHA))


def _until(true: float, against: float, alpha: float) -> int:
    """Cases with the share `true` until the sequence excludes the share `against`."""
    won, lost = math.log(true / against), math.log((1 - true) / (1 - against))
    mean = true * won + (1 - true) * lost
    spread = math.sqrt(true * (1 - true)) * abs(won - lost)
    return labels_until(mean, spread, math.log(1 / alpha))


ENOUGH = 100  # audited labels from which they alone decide
FEW_MISSING = 0.02  # of the labels that could have come


def operating_points(
    answers: Answers,
    basis: RateBasis,
    *,
    threshold: float | None = None,
    auroc_promised: dict[str, float] | None = None,
) -> OperatingPoints:
    """Return what labels show of a version, or of one finding of it, at its thresholds.

    Answers are labeled or not, oldest first. `threshold` is that of a finding.
    """
    labeled = answers.correct >= 0
    drawn = labeled if answers.drawn is None else labeled & answers.drawn
    audit = answers.drawn is not None and int(drawn.sum()) >= ENOUGH
    counted = drawn if audit else labeled
    missing, _ = missing_labels(answers if audit else replace(answers, drawn=None))
    is_chosen = bool(missing.sum() > FEW_MISSING * (missing.sum() + counted.sum()))
    claims = list(claims_of(answers, threshold))
    rates = rates_of(answers, claims, counted, basis, is_chosen=is_chosen)
    return OperatingPoints(
        labels=int(counted.sum()),
        audit=audit,
        is_chosen=is_chosen,
        chance=ALPHA,
        rates=tuple(sorted(rates, key=_order)),
        net_benefits=tuple(
            each for claim in claims for each in net_benefits(claim, counted, is_chosen=is_chosen)
        ),
        aurocs=tuple(each for claim in claims for each in aurocs(answers, claim, counted)),
        auroc_promised=auroc_promised or {},
    )


def _order(rate: LiveRate) -> tuple[int, float]:
    """Those that are lower, all answers, then tags; the farthest below its promise first."""
    place = 0 if rate.standing is RateStanding.LOWER else 1 + (rate.group.key != ALL)
    if rate.promise is None or place == 1:
        return place, 0.0
    return place, rate.rate.upper - rate.promise.lower
