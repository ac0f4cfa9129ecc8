"""A changed case mix: other shares of the true classes than in the card's data, or than before; and
changed input.

If images of each class look as before, the posterior under new shares is the served one times the
ratio of the shares, normalized (Saerens et al. 2002). Confidence then errs, and the correction is
known from the labels' classes alone, whatever the answers were.

Whether images out of scope explain an error, affected images that are in scope tell. A scope check
promises nothing about images that it does not flag: where those err as well, a changed input is
possible, not ruled out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.correction import corrected
from calibration.diagnosis.evidence import logit, tolerance
from calibration.diagnosis.facts import AnswerGroup, Cause, Deviation, Rival, RivalStatus
from calibration.diagnosis.figures import gap_of
from calibration.diagnosis.groups import ALL, TAG, members
from calibration.diagnosis.outcome import Outcome, outcome_of
from calibration.diagnosis.planner import labels_needed
from calibration.diagnosis.scan import group_evidence
from calibration.diagnosis.search import STRONG
from calibration.diagnosis.selection import affected as affected_by
from calibration.diagnosis.stream import Stream
from calibration.measures.reliability import wilson_interval

_ROUNDS = 3
_FEWEST_BEFORE = 200  # labels that stand for the card's
_PART = math.log(1000)


@dataclass(frozen=True)
class Mix:
    """New shares of the classes in a group: `rows` (n,) of it since, `confidence` (n,) with them.

    `gain`: log evidence of the labels for them, less what shares fitted by chance gain.
    """

    group: AnswerGroup
    rows: BoolArray
    confidence: FloatArray
    gain: float


def find_mix(outcome: Outcome) -> tuple[Rival, Mix | None, Outcome]:
    """Judge whether the case mix explains the findings, all or in part.

    New shares are looked for among all answers and in the tags' part of each finding. They explain
    a part if they and what is found under them, more than a guess, are 1,000 times likelier than
    the findings.

    Args:
        outcome: of the search, with a finding.

    Returns:
        The rival, the new shares if they explain anything, and what is left if those of all
        answers are granted; otherwise the outcome.
    """
    mixes = [mix for group, members in _scopes(outcome) if (mix := _mix(outcome, group, members))]
    best = max(mixes, key=lambda each: each.gain, default=None)
    if best is None or best.gain <= _explained(outcome, best):
        return Rival(Cause.CASE_MIX, RivalStatus.RULED_OUT), None, outcome
    granted = outcome_of(replace(outcome.labeled, confidence=best.confidence))
    is_all = granted.evidence < STRONG
    if is_all and _halves_gap(outcome, best):
        return Rival(Cause.CASE_MIX, RivalStatus.EXPLAINS_ALL), best, outcome
    if not is_all and best.gain + _total(granted) > _total(outcome) + _PART:
        left = granted if best.group.key == ALL else outcome  # a group with new shares is who errs
        return Rival(Cause.CASE_MIX, RivalStatus.EXPLAINS_PART), best, left
    return Rival(Cause.CASE_MIX, RivalStatus.RULED_OUT), None, outcome


def _total(outcome: Outcome) -> float:
    return sum(each.best.score for each in outcome.found)


def _explained(outcome: Outcome, mix: Mix) -> float:
    """How much log evidence the findings lose under new shares."""
    lost = 0.0
    before, after = outcome.stream, outcome.stream.supposing(logit(mix.confidence))
    for each in (explanation.best for explanation in outcome.found):
        members = each.members(before)
        fall = max(group_evidence(before, members)) - max(group_evidence(after, members))
        lost += min(fall, each.score)
        before, after = corrected(before, [each]), corrected(after, [each])
    return max(lost, 0.0)


def _scopes(outcome: Outcome) -> Iterator[tuple[AnswerGroup, BoolArray]]:
    """All answers; and the values of a tag that a finding names."""
    yield AnswerGroup(ALL), np.ones(len(outcome.labeled), bool)
    for best in (each.best for each in outcome.found):
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
    gain = _evidence(outcome.stream, logit(confidence)) - _chance(len(card) - 1)
    return Mix(group, rows, confidence, gain)


def _evidence(stream: Stream, z: FloatArray) -> float:
    """Log e of the labels for logits z (n,) against the stream's within the tolerance."""
    width = tolerance(stream.z)
    edge = stream.z + np.clip(z - stream.z, -width, width)
    side = np.where(stream.right, 1.0, -1.0)
    return float(stream.weight @ (np.logaddexp(0, -side * edge) - np.logaddexp(0, -side * z)))


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
    return n * float((live * np.log(live / card)).sum()) > _chance(len(card) - 1)


def _chance(free: int) -> float:
    """The most log likelihood that so many free shares are likely to gain by chance."""
    return free / 2 + 2 * math.sqrt(2 * free)


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


IN_SCOPE: Final = "in_scope"
_FEWEST = 20  # labels of images in scope that can speak for the model
_NEARLY_ALL = 0.8  # of the affected images


def changed_input(
    answers: Answers, deviation: Deviation, labeled: Answers, weight: FloatArray, rows: BoolArray
) -> Rival | None:
    """Judge whether doubtful images explain a deviation; None without a scope check.

    They may if there are more among the affected than among the rest. They do if the affected
    images in scope show less than half of the gap, or hardly any is in scope.

    Args:
        answers: labeled or not.
        deviation: what was found.
        labeled: the n labeled answers, with their `weight` (n,); `rows` (n,) are affected.
    """
    if answers.doubtful is None or labeled.doubtful is None:
        return None
    inside = affected_by(answers, deviation)
    flagged, others = answers.doubtful[inside], answers.doubtful[_rest(answers, deviation, inside)]
    shares = [float(each.mean()) if len(each) else 0.0 for each in (flagged, others)]
    least = wilson_interval(shares[0], len(flagged))[0] if len(flagged) else 0.0
    most = wilson_interval(shares[1], len(others))[1] if len(others) else 1.0
    if least <= most:
        return Rival(Cause.INPUT, RivalStatus.RULED_OUT, 0, "", None, *shares)
    status, needs = _status(deviation, labeled, weight, rows & ~labeled.doubtful, shares[0])
    return Rival(Cause.INPUT, status, needs, IN_SCOPE if needs else "", None, *shares)


def _rest(answers: Answers, deviation: Deviation, inside: BoolArray) -> BoolArray:
    """Who else was answered since the onset; of an error of all, those before it."""
    since = answers.served_s >= deviation.since.likeliest
    if deviation.group.key == ALL:
        return ~inside & ~since
    return since & ~members(deviation.group, answers)


def _status(
    deviation: Deviation, labeled: Answers, weight: FloatArray, kept: BoolArray, doubtful: float
) -> tuple[RivalStatus, int]:
    """What the labels of affected images in scope say, and how many more of them would tell."""
    gap, n = deviation.inside.gap.estimate, int(kept.sum())
    if n >= _FEWEST:
        found = gap_of(labeled.confidence[kept], labeled.correct[kept] == 1, weight[kept])
        least, most = sorted((math.copysign(1, gap) * each) for each in (found.lower, found.upper))
        if most < abs(gap) / 2:
            return RivalStatus.EXPLAINS_ALL, 0
        if least > 0:  # images in scope err as well
            return RivalStatus.POSSIBLE, 0
    if doubtful >= _NEARLY_ALL:
        return RivalStatus.EXPLAINS_ALL, 0
    some = labeled.confidence[kept] if n else labeled.confidence
    return RivalStatus.POSSIBLE, max(labels_needed(some, gap) - n, 1)
