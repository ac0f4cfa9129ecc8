"""The outcome of the search on labels that are worth what they are, patients considered."""

from dataclasses import dataclass, replace

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Answers
from calibration.diagnosis.correction import corrected
from calibration.diagnosis.dependence import design_effect, patient_correlation, patient_weights
from calibration.diagnosis.search import STRONG, Explanation, search
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
        clump: neighboring labels of unknown patients that are worth one.
    """

    labeled: Answers
    stream: Stream
    found: list[Explanation]
    evidence: float
    naive: float
    correlation: float
    clump: float


def outcome_of(labeled: Answers) -> Outcome:
    """Search twice if labels depend on each other: what was found first shows how much."""
    plain = Stream.of(labeled)
    found, naive = search(plain)
    left = corrected(plain, [each.best for each in found])
    weight, correlation, clump = _worth(labeled, left)
    stream, evidence = plain.weighing(weight), naive
    if weight.min(initial=1.0) < 1:
        found, evidence = search(stream)
        # fitted weights leave more guesses than chance does, above all if patients are unknown
        is_known = clump == 1 and labeled.patient is not None
        times = 1.0 if is_known else float(np.clip(clump, *_UNSURE))
        if naive >= times * STRONG > evidence:
            found = []
    return Outcome(labeled, stream, found, evidence, naive, correlation, clump)


def supposing(answers: Answers, confidence: FloatArray) -> Answers:
    """The answers as if they had been served with this confidence (N,)."""
    return replace(answers, confidence=confidence)


def patient_codes(answers: Answers) -> IntArray:
    """Codes from 0 (n,); an answer whose patient is unknown is of a patient of its own."""
    own = -1 - np.arange(len(answers))
    patient = own if answers.patient is None else answers.patient
    return np.unique(np.where(patient < 0, own, patient), return_inverse=True)[1]


def _worth(labeled: Answers, left: Stream) -> tuple[FloatArray, float, float]:
    """Weights (n,) of labels, correlation within a patient, and the design effect of neighbors."""
    patient, known = patient_codes(labeled), np.zeros(len(labeled), bool)
    if labeled.patient is not None:
        known = labeled.patient >= 0
    correlation, clump = patient_correlation(left, patient), design_effect(left, ~known)
    weight = np.where(known, patient_weights(patient, correlation), 1 / clump)
    return weight, correlation, clump
