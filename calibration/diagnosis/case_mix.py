"""A changed case mix: other shares of the true classes than in the card's data.

If images of each class look as before, the posterior under new shares is the served one times the
ratio of the shares, normalized (Saerens et al. 2002). Confidence then errs, and the correction is
known from the labels' classes alone, whatever the answers were.
"""

import math

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import BoolArray
from calibration.diagnosis.evidence import log_sum_exp, logit
from calibration.diagnosis.facts import Cause, Rival, RivalStatus
from calibration.diagnosis.outcome import Outcome
from calibration.diagnosis.scan import group_evidence, scan
from calibration.diagnosis.search import STRONG

_ROUNDS = 3
_PART = math.log(1000)


def adjusted_confidence(outcome: Outcome) -> FloatArray | None:
    """Confidence (n,) of the predicted class under the class shares since these changed.

    None if the shares or the probabilities are unknown, or the shares have not changed.
    """
    labeled, weight = outcome.labeled, outcome.stream.weight
    if labeled.probabilities is None or labeled.label is None or labeled.class_shares is None:
        return None
    if (labeled.label < 0).any():
        return None
    card = np.maximum(labeled.class_shares, 1e-6)
    best, block = outcome.found[0].best, outcome.stream.block
    rows = (block >= best.begin) & (block < best.end)
    for _ in range(_ROUNDS):
        live = _shares(labeled.label[rows], weight[rows], card)
        rows = _longest(weight * np.log(live / card)[labeled.label])
    live = _shares(labeled.label[rows], weight[rows], card)
    if not _differ(live, card, float(weight[rows].sum())):
        return None
    moved = labeled.probabilities * np.where(rows[:, None], live / card, 1.0)
    top = moved[np.arange(len(labeled)), labeled.predicted]
    return np.asarray(top / moved.sum(axis=1))


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


def case_mix(outcome: Outcome, confidence: FloatArray | None) -> Rival:
    """Judge whether the case mix explains the findings, all or in part.

    Args:
        outcome: of the search, with a finding.
        confidence: (n,) under the new shares; None if there are none.
    """
    if confidence is None:
        return Rival(Cause.CASE_MIX, RivalStatus.RULED_OUT, outcome.evidence)
    granted = outcome.stream.supposing(logit(confidence))
    left = scan(granted)[0].score
    if left < STRONG:
        return Rival(Cause.CASE_MIX, RivalStatus.EXPLAINS_ALL, left)
    part = _explained(outcome, confidence) > _PART
    status = RivalStatus.EXPLAINS_PART if part else RivalStatus.RULED_OUT
    return Rival(Cause.CASE_MIX, status, left)


def _explained(outcome: Outcome, confidence: FloatArray) -> float:
    """Log evidence about all answers that the new shares take away."""
    everyone = np.ones(len(outcome.labeled), bool)
    granted = outcome.stream.supposing(logit(confidence))
    before, after = (
        float(log_sum_exp(np.array(group_evidence(stream, everyone))))
        for stream in (outcome.stream, granted)
    )
    return before - after
