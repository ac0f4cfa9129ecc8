"""Rival causes: what else than a change of calibration may explain what the labels show."""

from typing import Final

import numpy as np

from calibration.diagnosis.answers import Answers
from calibration.diagnosis.facts import Cause, Rival, RivalStatus
from calibration.diagnosis.outcome import Outcome
from calibration.diagnosis.scan import scan
from calibration.diagnosis.search import STRONG
from calibration.diagnosis.stream import Stream

PATIENT_CODES: Final = "patient_codes"
_ALIKE = 2.0  # images of a patient, all alike, that unknown patients may have


def patients(outcome: Outcome) -> Rival:
    """Judge whether images of the same patients explain the evidence.

    Unknown patients are suspected where neighboring answers err together, or where two images of
    each, all alike, would explain the evidence.
    """
    explained = outcome.naive >= STRONG > outcome.evidence
    left, n = outcome.evidence, len(outcome.labeled)
    if outcome.clump > 1:
        part = bool(outcome.found)
        status = RivalStatus.EXPLAINS_PART if part else RivalStatus.POSSIBLE
        return Rival(Cause.PATIENTS, status, left, n, PATIENT_CODES)
    if outcome.labeled.patient is not None:
        status = RivalStatus.EXPLAINS_ALL if explained else RivalStatus.RULED_OUT
        return Rival(Cause.PATIENTS, status, left)
    if outcome.found and left < _ALIKE * STRONG:
        return Rival(Cause.PATIENTS, RivalStatus.POSSIBLE, left / _ALIKE, n, PATIENT_CODES)
    return Rival(Cause.PATIENTS, RivalStatus.RULED_OUT, left)


def corrected_labels(labeled: Answers, outcome: Outcome) -> Rival | None:
    """Judge whether first labels, since corrected, explain an alarm; None if none was corrected."""
    first = labeled.first_correct
    if first is None or not ((first >= 0) & (first != labeled.correct)).any():
        return None
    believed = np.where(first >= 0, first, labeled.correct) == 1
    stream = outcome.stream
    before = Stream(stream.z, believed, stream.weight, stream.block, stream.keys)
    if scan(before)[0].score < STRONG:
        return Rival(Cause.CORRECTED, RivalStatus.RULED_OUT, outcome.evidence)
    explained = outcome.evidence < STRONG
    status = RivalStatus.EXPLAINS_ALL if explained else RivalStatus.RULED_OUT
    return Rival(Cause.CORRECTED, status, outcome.evidence)
