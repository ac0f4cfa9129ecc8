"""All facts about operating points, from served answers and their labels: sensitivity, specificity
and PPV against what a card promises, at every look at once.

If enough answers were drawn at random for an audit, their labels alone count. The labels of a
patient count as one: each is worth 1 / (that patient's labels of the rate). For a capital that is
convex in the outcome, a mean of dependent outcomes is no more than one of them, so the sequence
still holds (Jensen). The allowed error is shared out over rates, groups and the stretches of time
(`calibration.intervals.stretches`), so all of them together keep it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from calibration.bins import IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.facts import AnswerGroup, IntervalEstimate
from calibration.diagnosis.groups import ALL, TAG
from calibration.diagnosis.planner import labels_until
from calibration.diagnosis.selection import missing_labels
from calibration.intervals.confidence_sequence import accuracy_sequence, share_interval
from calibration.intervals.stretches import DayCount, Stretch, stretches, surest
from calibration.operating.claims import BinaryClaim, aurocs, claims_of, net_benefits
from calibration.operating.facts import LiveRate, OperatingPoints, Promise, RateName, RateStanding

ALPHA = 0.05
ODDS = 2.0  # factor on the odds within which a rate is as promised
VALUES = 51  # of a tag that can have a slice of their own
_DAY_S = 86_400
_FEW_CASES = 5  # below which the reference tells how many answers are such cases
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
    day = (answers.served_s // _DAY_S).astype(np.int64)
    found = []
    for group, index, part in _groups(answers, basis):
        alpha = ALPHA * basis.part * part / (len(claims) * len(RateName))
        patient = None if answers.patient is None else answers.patient[index]
        for claim in claims:
            inside = claim.rows(index)
            for name in RateName:
                stream = _Stream(inside, name, labeled[index], day[index], patient)
                found.append(_judged(stream, group, basis, alpha, is_chosen))
    return found


def _groups(answers: Answers, basis: RateBasis) -> Iterator[tuple[AnswerGroup, IntArray, float]]:
    """All answers and each value of a watched key, with their parts of the allowed error."""
    yield AnswerGroup(ALL), np.arange(len(answers)), 0.5 if basis.keys else 1.0
    for key in basis.keys:
        tag, part = answers.tags.get(key), 0.5 / len(basis.keys) / VALUES
        if tag is not None:
            for code, value in enumerate(tag.names):
                yield AnswerGroup(TAG + key, (value,)), np.flatnonzero(tag.codes == code), part


class _Stream:
    """The labeled answers of a group that tell a rate.

    Attributes:
        rows: (n,) their places in the group.
        right: (n,) outcomes; `weight`: what each is worth; `day`: when it was served, ascending.
        labels: of the group, also of answers that do not tell the rate.
    """

    def __init__(
        self,
        claim: BinaryClaim,
        name: RateName,
        labeled: BoolArray,
        day: IntArray,
        patient: IntArray | None,
    ) -> None:
        self.claim, self.name = claim, name
        self._labeled, self._day = labeled, day
        among, right = claim.cases(name)
        self.rows = np.flatnonzero(labeled & among)
        self.right, self.day = right[self.rows], day[self.rows]
        self.weight = np.ones(len(self.rows))
        self.labels = int(labeled.sum())
        if patient is not None:
            of_rows = patient[self.rows]
            known = of_rows >= 0
            self.weight[known] = 1 / np.bincount(of_rows[known])[of_rows[known]]

    def days(self) -> list[DayCount]:
        first = np.flatnonzero(np.diff(self.day, prepend=-1))
        n, right = (np.add.reduceat(w, first) for w in (self.weight, self.weight * self.right))
        counts = zip(self.day[first].tolist(), n.tolist(), right.tolist(), strict=True)
        return [DayCount(*each) for each in counts]

    def since(self, day: int | None) -> Stretch:
        n, right = (w[self.day >= (day or 0)] for w in (self.weight, self.weight * self.right))
        return Stretch(day, float(n.sum()), float(right.sum()), ALPHA)

    def as_served(self, since_day: int | None) -> float:
        """The rate at the weights of the answers served since a day; NaN if not known."""
        weights = self.claim.weights(self._day >= (since_day or 0), self._labeled)
        if weights is None or not weights[self.rows].sum():
            return math.nan
        return float(np.average(self.right, weights=weights[self.rows]))


def _judged(
    stream: _Stream, group: AnswerGroup, basis: RateBasis, alpha: float, is_chosen: bool
) -> LiveRate:
    promise, since_day = basis.promises.get((stream.name, stream.claim.of)), basis.since_day
    fall = None
    if promise is not None:
        days = stream.days()
        found = stretches(days, alpha=alpha, first_day=basis.first_day, since_day=since_day)
        fall = surest(list(found), promise.lower, below=True)
        if fall is not None and is_chosen and not stream.as_served(fall.day) < promise.lower:
            fall = None
    shown_day = fall.day if fall is not None else since_day
    shown = fall or stream.since(shown_day)
    rate = _estimate(shown)
    standing = RateStanding.LOWER if fall is not None else _unless_lower(rate, promise)
    more = _more(promise, alpha, shown) if standing is RateStanding.UNKNOWN else 0
    return LiveRate(
        name=stream.name,
        of=stream.claim.of,
        group=group,
        standing=standing,
        n=int((stream.day >= (shown_day or 0)).sum()),
        rate=rate,
        since_s=None if shown_day is None else float(shown_day * _DAY_S),
        as_served=stream.as_served(shown_day) if is_chosen else math.nan,
        promise=promise,
        more=more,
        more_labels=math.ceil(more / _share_of_cases(stream, promise, basis)),
    )


def _estimate(shown: Stretch) -> IntervalEstimate:
    right = min(shown.right, shown.n)
    ends = accuracy_sequence(shown.n, right, alpha=shown.alpha)
    return IntervalEstimate(right / shown.n if shown.n else math.nan, *ends)


def _unless_lower(rate: IntervalEstimate, promise: Promise | None) -> RateStanding:
    if promise is None or rate.upper < promise.lower:  # below it, though no alarm is sure of it
        return RateStanding.UNKNOWN
    is_close = 0 < _at_odds(promise.lower) <= rate.lower
    return RateStanding.AS_PROMISED if is_close else RateStanding.UNKNOWN


def _at_odds(share: float) -> float:
    """The share with half the odds: o / (ODDS + o), where o / (1 + o) is given."""
    return share / (share + ODDS * (1 - share))


def _more(promise: Promise | None, alpha: float, shown: Stretch) -> int:
    """How many more cases until a fall to half the odds is known, or ruled out if there is none."""
    if promise is None or not promise.lower:
        return 0
    low, high = _at_odds(promise.lower), promise.value * (1 - 1 / (promise.n + 2))
    found = _until(low, promise.lower, alpha / 2)
    return math.ceil(max(0.0, max(found, _until(high, low, ALPHA)) - shown.n))


def _until(true: float, against: float, alpha: float) -> int:
    """Cases with the share `true` until the sequence excludes the share `against`."""
    won, lost = math.log(true / against), math.log((1 - true) / (1 - against))
    mean = true * won + (1 - true) * lost
    spread = math.sqrt(true * (1 - true)) * abs(won - lost)
    return labels_until(mean, spread, math.log(1 / alpha))


def _share_of_cases(stream: _Stream, promise: Promise | None, basis: RateBasis) -> float:
    """Of labeled answers, those that tell the rate; on the reference if labels show few."""
    if len(stream.rows) >= _FEW_CASES or promise is None:
        return max(len(stream.rows), 1) / max(stream.labels, 1)
    return promise.n / basis.reference


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
