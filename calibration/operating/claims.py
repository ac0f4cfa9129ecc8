"""What answers say about one class or finding, and what labels say: AUROC by period, and
net benefit by exchange rate (Vickers and Elkin 2006, "Decision curve analysis").
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calibration.bins import FloatArray, IntArray, bin_index
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.intervals.confidence_sequence import gap_sequences
from calibration.measures.estimates import IntervalEstimate
from calibration.measures.metrics import Interval
from calibration.measures.ranking import auroc, auroc_interval
from calibration.operating.facts import NetBenefit, PeriodAuroc, RateName

CLAIMS = 16  # classes at most
_BINS = 5
_COVERED = 0.95  # of the answers served: kinds without a label say nothing


@dataclass(frozen=True)
class BinaryClaim:
    """One class against the others, or the presence of a finding, in N answers.

    Attributes:
        of: the class, or `present`.
        said: (N,) whether the answer says it.
        true: (N,) whether the label does; False without a label.
        score: (N,) its probability; None if that is not known.
        threshold: of the score, from which it is said; None: where it is the most probable of more
            than two.
    """

    of: str
    said: BoolArray
    true: BoolArray
    score: FloatArray | None
    threshold: float | None

    def cases(self, name: RateName) -> tuple[BoolArray, BoolArray]:
        """Which labeled answers (N,) tell a rate, and of which it is the share."""
        return {
            RateName.SENSITIVITY: (self.true, self.said),
            RateName.SPECIFICITY: (~self.true, ~self.said),
            RateName.PPV: (self.said, self.true),
        }[name]

    @cached_property
    def _kind(self) -> IntArray:
        score = self.said.astype(np.float64) if self.score is None else self.score
        return self.said * _BINS + bin_index(score, _BINS)

    def weights(self, rows: IntArray, labeled: BoolArray, group: IntArray) -> FloatArray:
        """Answers per label (n,) among those of `rows` (n,) alike: of one `group` (n,), said alike,
        with a score in the same fifth.

        0 without a label; NaN in groups too many of whose answers have no label like them.
        """
        kind, known = group * 2 * _BINS + self._kind[rows], labeled[rows]
        size = (int(group.max(initial=-1)) + 1, 2 * _BINS)
        served, labels = (
            np.bincount(each, minlength=math.prod(size)).reshape(size)
            for each in (kind, kind[known])
        )
        each = served / np.maximum(labels, 1)
        each[(served * (labels > 0)).sum(axis=1) < _COVERED * served.sum(axis=1)] = math.nan
        return np.asarray(np.where(known, each.ravel()[kind], 0.0))


def claims_of(answers: Answers, threshold: float | None) -> Iterator[BinaryClaim]:
    """Yield the claims: `threshold` of a finding, whose confidence is that of presence; None of
    exclusive classes, the CLAIMS with most labels.
    """
    label = np.full(len(answers), -1) if answers.label is None else answers.label
    if threshold is not None:
        present, said = answers.classes[1], answers.confidence >= threshold
        yield BinaryClaim(present, said, label == 1, answers.confidence, threshold)
        return
    count = np.bincount(label[label >= 0], minlength=len(answers.classes))
    half = 0.5 if len(answers.classes) == 2 else None
    for code in sorted(np.argsort(-count, kind="stable")[:CLAIMS].tolist()):
        score = None if answers.probabilities is None else answers.probabilities[:, code]
        said, true = answers.predicted == code, label == code
        yield BinaryClaim(answers.classes[code], said, true, score, half)


EXCHANGES = (1.0, 2.0, 4.0, 9.0, 19.0, 49.0, 99.0)
_PERIODS = 12
_RARER = 20  # answers of the rarer outcome in a period


def net_benefits(
    claim: BinaryClaim, labeled: BoolArray, *, is_chosen: bool
) -> Iterator[NetBenefit]:
    """Yield the net benefit of a claim at each exchange rate, and at that of its threshold.

    If labels may have been chosen, each counts for the answers like it, and no interval is known.
    """
    everywhere, rows = np.ones(len(labeled), bool), np.arange(len(labeled))
    weights = labeled.astype(np.float64)
    if is_chosen:
        weights = claim.weights(rows, labeled, np.zeros_like(rows))
    if np.isnan(weights).any() or not labeled.any():
        return
    at = (
        0.5 if claim.threshold is None else claim.threshold
    )  # the most probable: errors weigh alike
    own = at and (1 - at) / at
    in_use = next((each for each in EXCHANGES if own and math.isclose(own, each)), own)
    said, every = _outcomes(claim.said, claim, weights), _outcomes(everywhere, claim, weights)
    counts = _outcomes(claim.said, claim, labeled.astype(np.float64))
    exchanges = sorted({*EXCHANGES, *([in_use] if in_use else [])})
    unknown = [Interval(math.nan, math.nan)] * len(exchanges)
    intervals = unknown if is_chosen else _intervals(counts, int(labeled.sum()), exchanges)
    for exchange, ends in zip(exchanges, intervals, strict=True):
        moved = None if claim.score is None else claim.score >= 1 / (1 + exchange)
        moved_to = None if moved is None else _outcomes(moved, claim, weights)
        total = float(weights.sum())
        yield NetBenefit(
            claim.of,
            exchange,
            exchange == in_use,
            IntervalEstimate(_gain(said, exchange) / total, *ends),
            math.nan if moved_to is None else _gain(moved_to, exchange) / total,
            _gain(every, exchange) / total,
        )


def _outcomes(said: BoolArray, claim: BinaryClaim, weights: FloatArray) -> tuple[float, float]:
    """The weight of answers that are said and true, and of those that are said and false."""
    true, false = np.bincount(claim.true, weights * said, 2)[::-1].tolist()
    return true, false


def _gain(outcomes: tuple[float, float], exchange: float) -> float:
    return outcomes[0] - outcomes[1] / exchange


def _intervals(outcomes: tuple[float, float], n: int, exchanges: Sequence[float]) -> list[Interval]:
    """The confidence sequences of the mean of `n` answers, each worth 1, -1 / exchange or 0."""
    worth = 1 / np.array(exchanges)
    scale = np.maximum(1.0, worth)
    gains = (outcomes[0] - outcomes[1] * worth) / scale
    squares = (outcomes[0] + outcomes[1] * worth**2) / scale**2
    found = zip(gap_sequences(n, gains, squares), scale.tolist(), strict=True)
    return [Interval(each.lower * by, each.upper * by) for each, by in found]


def aurocs(answers: Answers, claim: BinaryClaim, labeled: BoolArray) -> Iterator[PeriodAuroc]:
    """Yield the AUROC of up to 12 periods with equally many of the rarer outcome, at least 20 if
    there are periods at all.
    """
    rows = np.flatnonzero(labeled)
    true = claim.true[rows]
    rarer = np.flatnonzero(true if true.sum() * 2 <= len(true) else ~true)
    if claim.score is None or not len(rarer):
        return
    count = min(max(len(rarer) // _RARER, 1), _PERIODS)
    ends = rarer[(len(rarer) * np.arange(1, count)) // count]
    for part in np.split(rows, ends):
        value = auroc(claim.score[part], claim.true[part])
        positives = int(claim.true[part].sum())
        if math.isnan(value):
            continue
        interval = auroc_interval(value, positives, len(part) - positives)
        first, last = answers.served_s[part[[0, -1]]].tolist()
        estimate = IntervalEstimate(value, *interval)
        yield PeriodAuroc(claim.of, first, last, len(part), positives, estimate)
