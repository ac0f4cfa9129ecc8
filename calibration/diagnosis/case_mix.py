"""A changed case mix: other shares of the true classes than in the card's data.

If images of each class look as before, the posterior under new shares is the served one times the
ratio of the shares, normalized (Saerens et al. 2002). Confidence then errs, and the correction is
known from the labels' classes alone, whatever the answers were.
"""

import math

import numpy as np

from calibration.bins import FloatArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.evidence import log_sum_exp, logit
from calibration.diagnosis.facts import Cause, Rival, RivalStatus
from calibration.diagnosis.outcome import Outcome
from calibration.diagnosis.scan import group_evidence, scan
from calibration.diagnosis.search import STRONG

_PART = math.log(1000)


def adjusted_confidence(outcome: Outcome) -> FloatArray | None:
    """Confidence (n,) of the predicted class under the shares of the first finding's time.

    None if the shares or the probabilities are unknown, or the shares have not changed.
    """
    labeled = outcome.labeled
    if labeled.probabilities is None or labeled.label is None or labeled.class_shares is None:
        return None
    best = outcome.found[0].best
    rows = (outcome.stream.block >= best.begin) & (outcome.stream.block < best.end)
    ratio = _ratio_of_shares(labeled, rows, outcome.stream.weight)
    if ratio is None:
        return None
    moved = labeled.probabilities * np.where(rows[:, None], ratio, 1.0)
    top = moved[np.arange(len(labeled)), labeled.predicted]
    return np.asarray(top / moved.sum(axis=1))


def _ratio_of_shares(labeled: Answers, rows: BoolArray, weight: FloatArray) -> FloatArray | None:
    """Live over card's shares (K,); None unless they differ significantly (likelihood ratio)."""
    if labeled.label is None or labeled.class_shares is None:
        return None
    card = np.maximum(labeled.class_shares, 1e-6)
    counts = np.bincount(labeled.label[rows], weight[rows], len(card)) + card
    live, n = counts / counts.sum(), float(weight[rows].sum())
    free = len(card) - 1
    statistic = 2 * n * float((live * np.log(live / card)).sum())
    return None if statistic < free + 4 * math.sqrt(2 * free) else live / card


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
