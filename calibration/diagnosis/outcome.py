"""The outcome of the search on labels that are worth what they are, patients considered;
and whether patients, or labels since corrected, explain it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from calibration.bins import IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.correction import corrected
from calibration.diagnosis.dependence import design_effect, patient_correlation, patient_weights
from calibration.diagnosis.facts import Cause, Rival, RivalStatus
from calibration.diagnosis.scan import scan
from calibration.diagnosis.search import STRONG, Explanation, most_evident, search
from calibration.diagnosis.stream import Stream

_UNSURE = (2.0, 5.0)  # times the evidence, if patients are unknown: as many as labels worth one


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        labeled: the n labeled answers.
        stream: their labels, with weights.
        found: the groups that changed.
        evidence: log evidence of the best hypothesis; `naive`: if labels were independent.
        correlation: of errors within a patient, plus a standard error; 0 if none is known.
        clump: neighboring labels of unknown patients that are worth one, what was found put right.
    """

    labeled: Answers
    stream: Stream
    found: list[Explanation]
    evidence: float
    naive: float
    correlation: float
    clump: float


def outcome_of(labeled: Answers) -> Outcome:
    """Search again if labels depend on each other: at first, all that errs together is a patient's.

    What the first search finds all the same is no patient's; the rest shows how patients correlate.
    """
    plain, patient = Stream.of(labeled), patient_codes(labeled)
    known = np.zeros(len(labeled), bool) if labeled.patient is None else labeled.patient >= 0
    effect = clump = design_effect(plain, ~known)
    correlation = patient_correlation(plain, patient)
    stream = _weighed(plain, patient, correlation, known, effect)
    found, evidence = search(stream)
    if stream.weight.min(initial=1.0) == 1:
        return Outcome(labeled, stream, found, evidence, evidence, correlation, clump)
    if found:
        left = corrected(plain, [each.best for each in found])
        correlation, clump = patient_correlation(left, patient), design_effect(left, ~known)
        stream = _weighed(plain, patient, correlation, known, effect)
        found, evidence = search(stream)
    naive = most_evident(plain)
    # fitted weights leave more guesses than chance does, above all if patients are unknown
    is_known = effect == 1 and labeled.patient is not None
    times = 1.0 if is_known else float(np.clip(effect, *_UNSURE))
    if naive >= times * STRONG > evidence:
        found = []
    return Outcome(labeled, stream, found, evidence, naive, correlation, clump)


def patient_codes(answers: Answers) -> IntArray:
    """Codes from 0 (n,), by first answer, since folds depend on it; an answer whose patient is
    unknown is of a patient of its own.
    """
    own = -1 - np.arange(len(answers))
    patient = own if answers.patient is None else answers.patient
    known, first, code = np.unique(
        np.where(patient < 0, own, patient), return_index=True, return_inverse=True
    )
    number = np.empty(len(known), np.int64)
    number[np.argsort(first)] = np.arange(len(known))
    return np.asarray(number[code])


def _weighed(
    stream: Stream, patient: IntArray, correlation: float, known: BoolArray, effect: float
) -> Stream:
    """The labels at what they are worth beside those of their patient, or of unknown patients."""
    return stream.weighing(np.where(known, patient_weights(patient, correlation), 1 / effect))


PATIENT_CODES: Final = "patient_codes"
_NEWEST = 50  # labels, as many neighbors as may err together: all with their patient, if it is sent
_ALIKE = 2.0  # images of a patient, all alike, that unknown patients may have


def patients(outcome: Outcome) -> Rival:
    """Judge whether images of the same patients explain the evidence.

    Unknown patients are suspected where neighboring answers err together, or where two images of
    each, all alike, would explain the evidence; no longer once all new answers have theirs.
    """
    explained = outcome.naive >= STRONG > outcome.evidence
    n, patient = len(outcome.labeled), outcome.labeled.patient
    are_sent = patient is not None and bool((patient[-_NEWEST:] >= 0).all())
    if outcome.clump > 1 and not are_sent:
        part = bool(outcome.found)
        status = RivalStatus.EXPLAINS_PART if part else RivalStatus.POSSIBLE
        return Rival(Cause.PATIENTS, status, n, PATIENT_CODES)
    if patient is not None:
        status = RivalStatus.EXPLAINS_ALL if explained else RivalStatus.RULED_OUT
        return Rival(Cause.PATIENTS, status)
    if outcome.found and outcome.evidence < _ALIKE * STRONG:
        return Rival(Cause.PATIENTS, RivalStatus.POSSIBLE, n, PATIENT_CODES)
    return Rival(Cause.PATIENTS, RivalStatus.RULED_OUT)


def corrected_labels(labeled: Answers, outcome: Outcome) -> Rival | None:
    """Judge whether first labels, since corrected, explain an alarm; None if none was corrected."""
    first = labeled.first_correct
    if first is None or not ((first >= 0) & (first != labeled.correct)).any():
        return None
    believed = np.where(first >= 0, first, labeled.correct) == 1
    stream = outcome.stream
    before = Stream(stream.z, believed, stream.weight, stream.block, stream.keys)
    explained = scan(before)[0].score >= STRONG > outcome.evidence
    status = RivalStatus.EXPLAINS_ALL if explained else RivalStatus.RULED_OUT
    return Rival(Cause.CORRECTED, status)
