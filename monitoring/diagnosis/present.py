"""The figures of now: since the main error that goes on began, of the answers that it affects, of
those that no error affects, and of slices; or of all since the last error ended.

Sums of days cannot tell a slice without those affected, so these are summed from single answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from calibration.bins import BinSums, IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.facts import Deviation, Inference
from calibration.diagnosis.groups import members
from calibration.measures import metrics
from calibration.measures.summary import Measures
from monitoring.diagnosis.audit import FEW_LABELS, Deciding
from monitoring.ledger.sums import LedgerSums
from monitoring.ledger.watched_version import WatchedVersion


@dataclass(frozen=True)
class Present:
    """Figures since `since_s`.

    Attributes:
        deciding: the labels of those affected, of all answers if no error goes on. A slice has the
            answers that no error affects; those that one affects, if it has no others.
        measures: of the labels of `deciding`; `elsewhere`: of the others, None without any.
    """

    since_s: float
    deciding: Deciding
    measures: Measures
    elsewhere: Measures | None


def find_present(row: WatchedVersion, answers: Answers, inference: Inference) -> Present | None:
    """Sum the answers since the last change; None if that would be all of them."""
    deviations, worth = inference.deviations, inference.worth
    if not deviations:
        return None
    since_s, main, affected, named = _parts(answers, deviations)
    if main.all():
        return None
    since = answers.served_s >= since_s
    heard = answers.correct >= 0
    drawn = np.zeros(len(answers), bool) if answers.drawn is None else answers.drawn & heard
    audited = int((drawn & since).sum()) >= FEW_LABELS
    heard = drawn if audited else heard
    slices = {
        name: _sums(answers, rows, heard)
        for chosen in (affected, since & ~named)
        for name, rows in _slices(row, answers, chosen)
    }
    labeled, measures = _measured(answers, main & heard, worth)
    elsewhere = _measured(answers, since & ~affected & heard, worth)[1]
    deciding = Deciding(labeled, slices, audited)
    return Present(since_s, deciding, measures, elsewhere if elsewhere.n else None)


def _parts(
    answers: Answers, deviations: tuple[Deviation, ...]
) -> tuple[float, BoolArray, BoolArray, BoolArray]:
    """Since when the figures are; answers that the main error affects, and that any does; those of
    all groups that an error affects.
    """
    ongoing = [each for each in deviations if each.until is None]
    if not ongoing:
        until = max(each.until for each in deviations if each.until is not None)
        since = answers.served_s >= until
        return until, since, since, np.zeros(len(answers), bool)
    groups = [members(each.group, answers) for each in ongoing]
    starts = [each.since.likeliest for each in ongoing]
    inside = [
        rows & (answers.served_s >= start) for rows, start in zip(groups, starts, strict=True)
    ]
    return starts[0], inside[0], np.any(inside, axis=0), np.any(groups, axis=0)


def _slices(
    row: WatchedVersion, answers: Answers, chosen: BoolArray
) -> Iterator[tuple[str, IntArray]]:
    """The chosen answers of each slice that has any, named as in the ledger's sums."""
    rows = np.flatnonzero(chosen)
    claims = [*map("".join, map(row.slices_of, row.classes))]  # of a finding, none
    keys = [(answers.predicted, claims)] if any(claims) else []
    keys += [
        (tag.codes, [f"tag:{key}={value}" for value in tag.names])
        for key, tag in answers.tags.items()
    ]
    if answers.label is not None:
        keys.append((answers.label, [f"true:{name}" for name in row.classes]))
    for codes, names in keys:
        for code in np.unique(codes[rows]).tolist():
            if code >= 0:
                yield names[code], rows[codes[rows] == code]


def _sums(answers: Answers, rows: IntArray, heard: BoolArray) -> LedgerSums:
    served = BinSums.from_predictions(answers.confidence[rows], np.zeros(len(rows)))
    return LedgerSums(_labeled(answers, rows[heard[rows]]), served.n, served.confidence)


def _labeled(answers: Answers, rows: IntArray) -> BinSums:
    return BinSums.from_predictions(answers.confidence[rows], answers.correct[rows] == 1)


def measured(labeled: BinSums, *, worth: float) -> Measures:
    """Return the measures of labels, each worth so many independent ones in the gap's interval."""
    gap = metrics.signed_gap_interval(labeled, worth=worth)
    measures = Measures.from_sums(labeled)
    return replace(measures, signed_gap_lower=gap.lower, signed_gap_upper=gap.upper)


def _measured(answers: Answers, chosen: BoolArray, worth: float) -> tuple[BinSums, Measures]:
    rows = np.flatnonzero(chosen)
    sums = _labeled(answers, rows)
    measures = measured(sums, worth=worth)
    if not len(rows) or answers.probabilities is None or answers.label is None:
        return sums, measures
    p, label = answers.probabilities[rows], answers.label[rows]
    return sums, replace(measures, nll=metrics.nll(p, label), brier=metrics.brier(p, label))
