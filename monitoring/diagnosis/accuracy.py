"""Is the model as accurate as on its card's reference? Is a difference one of cases or of error?

Confidence sequences compare the labels with the reference, so the answer may be read every day.
Their error of 5 % is shared out: a quarter to the reference, three eighths to all labels, and three
eighths to the labels of answers served since day j of the version, 1 / (j (j + 1)) of it each. The
latter find a drop that a long good time before would hide. Where not nearly all answers have a
label, a difference must also show at the weights of the answers served, by class and confidence.

Images of a patient are right or wrong together, so labels are worth fewer independent ones.

For operating points, single answers are read up to a limit, and pruned after a time. Only days
whose labels are all here count, so that the start of a confidence sequence does not move with its
labels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection

from calibration.bins import BinSums
from calibration.diagnosis.answers import Answers
from calibration.intervals.confidence_sequence import accuracy_sequence, share_interval
from calibration.intervals.stretches import DayCounts, Stretch, surest
from calibration.measures import metrics
from calibration.measures.estimates import IntervalEstimate, confidence_difference, gap_difference
from calibration.measures.metrics import Z95
from calibration.operating.facts import OperatingPoints
from calibration.operating.points import ENOUGH, FEW_MISSING, RateBasis, operating_points
from monitoring.diagnosis.coverage import LabelCoverage
from monitoring.diagnosis.facts import Accuracy, AccuracyAnswer
from monitoring.drift import watch
from monitoring.ledger.day_sums import DaySums
from monitoring.ledger.schema import DAY_NS, EVERYTHING
from monitoring.ledger.sum_tables import AUDIT
from monitoring.ledger.sums import LedgerSums, read_slices
from monitoring.ledger.versions import count_findings
from monitoring.ledger.watched_version import WatchedVersion

ALPHA = 0.05
ODDS = 2.0  # factor on the odds of being right within which accuracy is "as it was"
_OF_REFERENCE, _OF_LABELS = ALPHA / 4, 3 * ALPHA / 4
_COVERED = 0.95  # of the answers served: cells with fewer labels say too little about all
_DAY_S = DAY_NS / 1e9


class LabeledDay(NamedTuple):
    """A UTC day since 1970: labeled answers, those that were right, and all answers served."""

    day: int
    n: int
    correct: float
    served: int


def find_accuracy(
    connection: Connection,
    row: WatchedVersion,
    day_sums: Mapping[str, DaySums],
    coverage: LabelCoverage,
    *,
    worth: float,
) -> Accuracy:
    """Compare a version's labels with its reference: those of an audit, if they are enough.

    `worth`: how many independent labels one is worth, in (0, 1].
    """
    audit = int(day_sums[AUDIT].added().labeled.total) >= ENOUGH
    of_days = day_sums[AUDIT if audit else EVERYTHING]
    answer, stretch = judge(labeled_days(of_days), row.reference, worth=worth)
    sums = of_days.since(stretch.day).added()
    is_chosen = (coverage.audit if audit else coverage.whole).missing > FEW_MISSING
    changed = answer in (AccuracyAnswer.LOWER, AccuracyAnswer.HIGHER)
    if changed and is_chosen and not audit:
        by_class = _by_class(connection, row, stretch.day)
        if not _shows_as_served(by_class, sums, row.reference, answer):
            answer = AccuracyAnswer.UNKNOWN
    return _described(answer, stretch, sums.labeled, row.reference, worth, audit, is_chosen)


def judge(
    days: Sequence[LabeledDay], reference: BinSums, *, worth: float = 1.0
) -> tuple[AccuracyAnswer, Stretch]:
    """Answer from the labels of each day, oldest first, and say on which of them.

    The stretch counts what labels are worth.
    """
    before = _before(reference)
    day, n, right, _ = np.array(days, dtype=np.float64).reshape(-1, 4).T
    counts = DayCounts(day.astype(np.int64), n[None] * worth, right[None] * worth)
    first_day = days[0].day if days else 0
    whole = Stretch(None, float(counts.n.sum()), float(counts.right.sum()), _OF_LABELS / 2)
    if not (reference.total and whole.n):
        return AccuracyAnswer.UNKNOWN, whole
    for answer, bound, below in (
        (AccuracyAnswer.LOWER, before.lower, True),
        (AccuracyAnswer.HIGHER, before.upper, False),
    ):
        (shown,) = surest(counts, bound, below=below, alpha=_OF_LABELS, first_day=first_day)
        if shown is not None:
            return answer, shown
    now = accuracy_sequence(whole.n, whole.right, alpha=whole.alpha)
    is_close = _logit(now.lower) >= _logit(before.upper) - math.log(ODDS)
    is_close = is_close and _logit(now.upper) <= _logit(before.lower) + math.log(ODDS)
    return (AccuracyAnswer.AS_IT_WAS if is_close else AccuracyAnswer.UNKNOWN), whole


def _described(
    answer: AccuracyAnswer,
    stretch: Stretch,
    labeled: BinSums,
    reference: BinSums,
    worth: float,
    audit: bool,
    is_chosen: bool,
) -> Accuracy:
    before = _before(reference)
    now = accuracy_sequence(stretch.n, stretch.right, alpha=stretch.alpha)
    live = stretch.right / stretch.n if stretch.n else math.nan
    then = metrics.accuracy(reference)
    return Accuracy(
        answer=answer,
        n=round(stretch.n / worth),
        live=live,
        since_s=None if stretch.day is None else stretch.day * _DAY_S,
        reference_n=reference.total,
        reference=then,
        difference=IntervalEstimate(
            live - then, now.lower - before.upper, now.upper - before.lower
        ),
        from_cases=confidence_difference((reference, labeled), worth=(1.0, worth)),
        from_error=gap_difference((labeled, reference), worth=(worth, 1.0)),
        odds_limit=ODDS,
        audit=audit,
        is_chosen=is_chosen,
    )


def _shows_as_served(
    by_class: Sequence[LedgerSums], sums: LedgerSums, reference: BinSums, answer: AccuracyAnswer
) -> bool:
    """Whether the difference shows by class and confidence, or if all others contradict it."""
    is_lower = answer is AccuracyAnswer.LOWER
    served, n = int(sums.served.sum()), sums.labeled.total
    right = float(sums.labeled.correct.sum()) + (served - n if is_lower else 0)
    extreme = right / served
    shares = [(extreme, extreme * (1 - extreme) / served)]
    cells = _cells(by_class)
    if cells is not None:
        shares.append(cells)
    then = metrics.accuracy(reference)
    of_then = then * (1 - then) / max(reference.total, 1)
    sign = 1 if is_lower else -1
    return any(
        sign * (then - share) > Z95 * math.sqrt(variance + of_then) for share, variance in shares
    )


def _cells(by_class: Sequence[LedgerSums]) -> tuple[float, float] | None:
    """Accuracy with each cell of class and bin at the weight of its answers, and its variance."""
    if not by_class:
        return None
    n, correct, served = (
        np.concatenate([getattr(each, name) for each in group]).astype(np.float64)
        for name, group in (
            ("n", [each.labeled for each in by_class]),
            ("correct", [each.labeled for each in by_class]),
            ("served", by_class),
        )
    )
    filled = n > 0
    if served[filled].sum() < _COVERED * served.sum():
        return None
    weight = served[filled] / served[filled].sum()
    rate = (correct[filled] + 1) / (n[filled] + 2)  # all right, or all wrong, is not certain
    variance = float((weight**2 * rate * (1 - rate) / n[filled]).sum())
    return float((weight * correct[filled] / n[filled]).sum()), variance


def _by_class(
    connection: Connection, row: WatchedVersion, since_day: int | None
) -> list[LedgerSums]:
    slices = read_slices(connection, row.watched_version_id, since_day=since_day)
    return [each for name, each in slices.items() if name.startswith("predicted:")]


def labeled_days(sums: DaySums) -> list[LabeledDay]:
    """Count the labels of a slice by the day on which their answers were served, in order."""
    days, counts = sums.by_day("n", "correct", "served")
    return [
        LabeledDay(day, n, float(correct), served)
        for day, (n, correct, served) in zip(days.tolist(), counts.tolist(), strict=True)
    ]


def _before(reference: BinSums) -> metrics.Interval:
    correct = float(reference.correct.sum())
    return share_interval(reference.total, correct, alpha=_OF_REFERENCE)


def _logit(share: float) -> float:
    if share <= 0 or share >= 1:
        return math.inf if share >= 1 else -math.inf
    return math.log(share / (1 - share))


def find_operating_points(
    connection: Connection,
    row: WatchedVersion,
    answers: Answers,
    everything: DaySums,
    *,
    healed_s: float,
) -> OperatingPoints:
    """Judge a version's answers, labeled or not, at its thresholds.

    `everything`: the day sums of all answers. `healed_s`: when the last error ended, if all have
    ended: rates are judged since; NaN otherwise.
    """
    finding = row.finding_card
    auroc = finding.get("measures", {}).get("auroc")
    return operating_points(
        answers,
        _basis(connection, row, answers, everything, healed_s),
        threshold=finding.get("threshold"),
        auroc_promised={} if auroc is None else {row.classes[1]: auroc},
    )


def _basis(
    connection: Connection,
    row: WatchedVersion,
    answers: Answers,
    everything: DaySums,
    healed_s: float,
) -> RateBasis:
    days, watched = labeled_days(everything), watch.load(connection, row.watched_version_id)
    here = (answers.served_s[answers.correct >= 0] // _DAY_S).astype(np.int64)
    known = dict(zip(*(each.tolist() for each in np.unique(here, return_counts=True)), strict=True))
    left_out = [each.day for each in days if known.get(each.day, 0) < each.n]
    left_out += [] if math.isnan(healed_s) else [int(healed_s // _DAY_S)]
    return RateBasis(
        promises=row.promises,
        keys=watched.tags.keys if watched is not None else (),
        part=1 / max(count_findings(connection, row), 1),
        first_day=days[0].day if days else 0,
        since_day=max(left_out) + 1 if left_out else None,
        reference=_reference(row),
    )


def _reference(row: WatchedVersion) -> int:
    """The labeled answers of the card's reference."""
    return int(row.finding_card.get("labeled") or row.reference.total)
