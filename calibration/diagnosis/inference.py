"""The inference: from labeled answers to what changed, since when, and what else may explain it."""

import math
from dataclasses import dataclass

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.correction import corrected
from calibration.diagnosis.dependence import design_effect, patient_correlation, patient_weights
from calibration.diagnosis.facts import Deviation, Figures, Inference, Interval
from calibration.diagnosis.figures import figures_of
from calibration.diagnosis.groups import ALL
from calibration.diagnosis.onset import Onset, onset
from calibration.diagnosis.planner import open_questions
from calibration.diagnosis.search import STRONG, Finding, search
from calibration.diagnosis.stream import Stream


@dataclass(frozen=True)
class Search:
    """What the scan found, on labels that are worth `stream.weight`.

    `naive`: log evidence if all labels were independent.
    """

    labeled: Answers
    stream: Stream
    found: list[Finding]
    evidence: float
    naive: float
    correlation: float
    clump: float


def infer(answers: Answers) -> Inference:
    """Diagnose answers, labeled or not, oldest first."""
    done = _searched(answers.labeled())
    dates = _dates(done)
    return Inference(
        len(done.labeled),
        len(answers),
        done.evidence,
        done.correlation,
        _bounds(done),
        _deviations(done, dates),
        (),
        (),
        open_questions(answers),
    )


def _searched(labeled: Answers) -> Search:
    """Search twice if labels depend on each other: what was found first shows how much."""
    plain = Stream.of(labeled)
    found, naive = search(plain)
    left = corrected(plain, [each.best for each in found])
    weight, correlation, clump = _worth(labeled, left)
    stream, evidence = plain.weighing(weight), naive
    if weight.min(initial=1.0) < 1:
        found, evidence = search(stream)
    return Search(labeled, stream, found, evidence, naive, correlation, clump)


def _worth(labeled: Answers, left: Stream) -> tuple[FloatArray, float, float]:
    """Weights (n,) of labels, correlation within a patient, and the design effect of neighbors."""
    if labeled.patient is None:
        clump = design_effect(left)
        return np.full(len(labeled), 1 / clump), 0.0, clump
    patient = _codes(labeled.patient)
    correlation = patient_correlation(left, patient)
    return patient_weights(patient, correlation), correlation, 1.0


def _codes(patient: IntArray) -> IntArray:
    """Codes from 0; each answer whose patient is unknown is of a patient of its own."""
    own = np.where(patient < 0, -1 - np.arange(len(patient)), patient)
    return np.unique(own, return_inverse=True)[1]


def _bounds(done: Search) -> Interval:
    right = done.labeled.correct == 1
    figures = figures_of(done.labeled.confidence, right, done.stream.weight)
    return figures.gap if figures else Interval(math.nan, -1.0, 1.0)


def _dates(done: Search) -> list[Onset]:
    """Date each finding, the errors of the others put right."""
    best = [each.best for each in done.found]
    served_s = done.labeled.served_s
    return [
        onset(corrected(done.stream, [x for x in best if x is not each]), each, served_s)
        for each in best
    ]


def _deviations(done: Search, dates: list[Onset]) -> tuple[Deviation, ...]:
    affected = np.zeros(len(done.labeled), dtype=bool)
    for date in dates:
        affected[date.affected] = True
    return tuple(
        _deviation(done, each, date, affected) for each, date in zip(done.found, dates, strict=True)
    )


def _deviation(done: Search, finding: Finding, date: Onset, affected: BoolArray) -> Deviation:
    best, stream = finding.best, done.stream
    inside = _figures(done, date.affected)
    if inside is None:
        raise ValueError("a finding has no labels")
    since = done.labeled.served_s >= date.since.likeliest
    others = ~since if best.key == ALL else since & ~best.members(stream) & ~affected
    return Deviation(
        best.group(stream),
        best.score,
        date.since,
        date.until,
        date.course,
        best.shape,
        inside,
        _figures(done, np.flatnonzero(others)),
        tuple(each.group(stream) for each in (*finding.twins, *finding.rivals)),
        bool(finding.rivals) or best.score < STRONG,
    )


def _figures(done: Search, rows: IntArray) -> Figures | None:
    labeled = done.labeled
    return figures_of(
        labeled.confidence[rows], labeled.correct[rows] == 1, done.stream.weight[rows]
    )
