"""A changed case mix: other shares of the true classes than in the card's data, or than before.

If images of each class look as before, the posterior under new shares is the served one times the
ratio of the shares, normalized (Saerens et al. 2002). Confidence then errs, and the correction is
known from the labels' classes alone, whatever the answers were.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import BoolArray
from calibration.diagnosis.evidence import logit
from calibration.diagnosis.facts import AnswerGroup, Cause, Rival, RivalStatus
from calibration.diagnosis.groups import ALL, TAG
from calibration.diagnosis.outcome import Outcome
from calibration.diagnosis.scan import scan
from calibration.diagnosis.search import STRONG

_ROUNDS = 3
_FEWEST_BEFORE = 200  # labels that stand for the card's
_PART = math.log(1000)


@dataclass(frozen=True)
class Mix:
    """New shares of the classes in a group: `rows` (n,) of it since, `confidence` (n,) with them.

    `left`: log evidence that remains if they are granted.
    """

    group: AnswerGroup
    rows: BoolArray
    confidence: FloatArray
    left: float


def find_mix(outcome: Outcome) -> tuple[Rival, Mix | None]:
    """Judge whether the case mix explains the findings, all or in part.

    New shares are looked for among all answers and in the tags' part of the first finding.

    Args:
        outcome: of the search, with a finding.

    Returns:
        The rival, and the new shares if they explain anything.
    """
    mixes = [mix for group, members in _scopes(outcome) if (mix := _mix(outcome, group, members))]
    if not mixes:
        return Rival(Cause.CASE_MIX, RivalStatus.RULED_OUT, outcome.evidence), None
    best = min(mixes, key=lambda each: each.left)
    if best.left < STRONG and _halves_gap(outcome, best):
        return Rival(Cause.CASE_MIX, RivalStatus.EXPLAINS_ALL, best.left), best
    explained = outcome.evidence - best.left
    if best.group.key == ALL and explained > max(_PART, outcome.evidence / 2):
        return Rival(Cause.CASE_MIX, RivalStatus.EXPLAINS_PART, best.left), best
    return Rival(Cause.CASE_MIX, RivalStatus.RULED_OUT, best.left), None


def _scopes(outcome: Outcome) -> Iterator[tuple[AnswerGroup, BoolArray]]:
    """All answers; and the values of a tag that the first finding names, if it names one."""
    yield AnswerGroup(ALL), np.ones(len(outcome.labeled), bool)
    best = outcome.found[0].best
    for key, values in ((best.key, best.values), *([best.within] if best.within else [])):
        if key.startswith(TAG):
            tag = outcome.stream.keys[key]
            yield tag.group(values), tag.members(values)


def _mix(outcome: Outcome, group: AnswerGroup, members: BoolArray) -> Mix | None:
    """The shares of a group since they changed; None if they have not, or are unknown."""
    labeled, weight = outcome.labeled, outcome.stream.weight * members
    if labeled.probabilities is None or labeled.label is None or (labeled.label < 0).any():
        return None
    known = _former_shares(outcome, labeled.label, labeled.probabilities.shape[1])
    if known is None:
        return None
    card, before = known
    best, block = outcome.found[0].best, outcome.stream.block
    rows = (block >= best.begin) & (block < best.end)
    for _ in range(_ROUNDS):
        live = _shares(labeled.label[rows], weight[rows], card)
        rows = _longest(weight * np.log(live / card)[labeled.label])
    live = _shares(labeled.label[rows], weight[rows], card)
    n = float(weight[rows].sum())
    if not _differ(live, card, 1 / (1 / max(n, 1) + 1 / before)):
        return None
    rows = rows & members
    moved = labeled.probabilities * np.where(rows[:, None], live / card, 1.0)
    confidence = moved[np.arange(len(labeled)), labeled.predicted] / moved.sum(axis=1)
    left = scan(outcome.stream.supposing(logit(confidence)))[0].score
    return Mix(group, rows, confidence, left)


def _former_shares(
    outcome: Outcome, label: IntArray, classes: int
) -> tuple[FloatArray, float] | None:
    """The card's shares (K,), or those of the labels before the error, and of how many labels."""
    if outcome.labeled.class_shares is not None:
        return np.maximum(outcome.labeled.class_shares, 1e-6), math.inf
    rows = outcome.stream.block < outcome.found[0].best.begin
    if int(rows.sum()) < _FEWEST_BEFORE:
        return None
    counts = np.bincount(label[rows], minlength=classes) + 1 / classes
    return counts / counts.sum(), float(counts.sum())


def _shares(label: IntArray, weight: FloatArray, card: FloatArray) -> FloatArray:
    """Shares (K,) of the classes, as if one more label had been divided by the card's shares."""
    counts = np.bincount(label, weight, len(card)) + card
    return np.asarray(counts / counts.sum())


def _differ(live: FloatArray, card: FloatArray, n: float) -> bool:
    """Whether shares of n labels differ significantly from the card's (likelihood ratio)."""
    free = len(card) - 1
    return 2 * n * float((live * np.log(live / card)).sum()) > free + 4 * math.sqrt(2 * free)


def _longest(evidence: FloatArray) -> BoolArray:
    """The run (n,) with the most evidence (n,) for new shares; up to either end if that may be."""
    running = np.concatenate([[0.0], evidence.cumsum()])
    rise = running - np.minimum.accumulate(running)
    end = int(rise.argmax())
    begin = int(running[: end + 1].argmin())
    if running[-1] - running[end] > -STRONG:
        end = len(evidence)
    if running[begin] > -STRONG:
        begin = 0
    rows = np.zeros(len(evidence), bool)
    rows[begin:end] = True
    return rows


def _halves_gap(outcome: Outcome, mix: Mix) -> bool:
    """Whether the first finding's gap is at most half as large under the new shares."""
    rows = outcome.found[0].best.rows(outcome.stream)
    weight, right = outcome.stream.weight[rows], outcome.stream.right[rows]
    before, after = (
        abs(float(weight @ (confidence[rows] - right)))
        for confidence in (outcome.labeled.confidence, mix.confidence)
    )
    return after <= before / 2
