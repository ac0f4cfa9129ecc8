"""Is the model as accurate as it was? A question of its own: a calibrated model can become worse
and know it.

The labels of this version are compared with the card's reference by confidence sequences, so the
answer may be read every day. Whoever does is misled about at most one in twenty models whose
accuracy is what it was. That error is shared
out: a quarter to the reference, three eighths to all labels, and three eighths to the labels of
answers served since day j of the version, 1 / (j (j + 1)) of it each. The latter find a drop that a
long good time before would hide.

The windows of a report do not apply. A window that moves starts a new comparison every day.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, select

from calibration.bins import BinSums
from calibration.intervals.confidence_sequence import (
    accuracy_evidence,
    accuracy_sequence,
    share_interval,
)
from calibration.wording import counted
from monitoring.findings.audit import FEW_LABELS
from monitoring.findings.comparison import compare
from monitoring.findings.phrases import percent, points
from monitoring.findings.post_stratification import PostStratified, post_stratify
from monitoring.ledger.days import day_date
from monitoring.ledger.schema import EVERYTHING, bin_day
from monitoring.ledger.slices import AUDIT
from monitoring.ledger.statement import summed
from monitoring.ledger.sums import LedgerSums, read_sums

ALPHA = 0.05
CLOSE = 0.10  # "as it was" is not said of an interval that reaches further than this from 0
_OF_REFERENCE, _OF_ALL, _OF_LATER = ALPHA / 4, 3 * ALPHA / 8, 3 * ALPHA / 8
_NEARLY_ALL = 0.99
_PLANS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)  # numbers of labels to ask for
PROMISE = (
    "This answer may be read every day: it misleads about at most 1 in 20 models whose accuracy is "
    "as it was, if their labels are a fair sample."
)


class AccuracyAnswer(StrEnum):
    """The answer in one word."""

    LOWER = "lower"
    AS_IT_WAS = "as-it-was"
    HIGHER = "higher"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class AccuracyVerdict:
    """Whether the version is as accurate as on its card's reference, whatever the window.

    Attributes:
        headline: the answer in a few words; `sentence`: the figures behind it; `promise`: how far
        to trust it. n, live: labels and accuracy, of answers served since `since`.
        since: first UTC day of the answers compared; None if all of them are.
        reference_n, reference: answers and accuracy of the card's reference.
        difference_lower, difference_upper: live minus reference, at every look at once.
        audit: whether only audited answers count.
        chosen: whether the labels may have been chosen, since not nearly all answers, or audited
            answers, have one.
    """

    answer: AccuracyAnswer
    headline: str
    sentence: str
    promise: str
    n: int
    live: float
    since: str | None
    reference_n: int
    reference: float
    difference_lower: float
    difference_upper: float
    audit: bool
    chosen: bool

    @property
    def bound(self) -> float:
        """By how much accuracy is lower or higher at least, or within what it is as it was."""
        if self.answer is AccuracyAnswer.LOWER:
            return -self.difference_upper
        if self.answer is AccuracyAnswer.HIGHER:
            return self.difference_lower
        return math.ceil(1000 * max(-self.difference_lower, self.difference_upper)) / 1000


class LabeledDay(NamedTuple):
    """A UTC day since 1970: labeled answers, those that were right, and all answers served."""

    day: int
    n: int
    correct: float
    served: int


class _Stretch(NamedTuple):
    """Labels of answers served since `day` (None: all), and their part of the error."""

    day: int | None
    n: int
    correct: float
    alpha: float


def find_accuracy(
    connection: Connection, watched_version_id: int, reference: BinSums
) -> AccuracyVerdict:
    """Compare a calibration's labels with the reference: those of the audit, if they are enough."""
    audited = labeled_days(connection, watched_version_id, AUDIT)
    audit = sum(each.n for each in audited) >= FEW_LABELS
    days = audited if audit else labeled_days(connection, watched_version_id, EVERYTHING)
    verdict = judge_accuracy(days, reference, audit=audit)
    since_day = (
        None
        if verdict.since is None
        else (date.fromisoformat(verdict.since) - date(1970, 1, 1)).days
    )
    return weigh(verdict, read_sums(connection, watched_version_id, since_day=since_day), reference)


def weigh(verdict: AccuracyVerdict, sums: LedgerSums, reference: BinSums) -> AccuracyVerdict:
    """Take back a difference that is not there, at this look, at the weights of the answers served.

    Answers of low confidence are right less often. If they are labeled more often than others,
    accuracy seems to fall.
    """
    if (
        verdict.audit
        or not verdict.chosen
        or verdict.answer not in (AccuracyAnswer.LOWER, AccuracyAnswer.HIGHER)
    ):
        return verdict
    is_lower = verdict.answer is AccuracyAnswer.LOWER
    weighted = post_stratify(sums.labeled, sums.served)
    for each in (weighted, _at_best(sums, is_lower=is_lower)):
        difference = compare(sums.labeled, reference, each).accuracy_as_served
        if difference.significant and (difference.difference < 0) is is_lower:
            return verdict
    headline = "Not known: the labels are of other answers than the ones served"
    explanation = (
        "The labeled answers differ in confidence from those served, and that alone can explain "
        "the difference."
    )
    return replace(
        verdict,
        answer=AccuracyAnswer.UNKNOWN,
        headline=headline,
        sentence=f"{verdict.sentence} {explanation}",
    )


def _at_best(sums: LedgerSums, *, is_lower: bool) -> PostStratified:
    """The accuracy of all answers if those without a label contradict the difference."""
    served, labeled = int(sums.served.sum()), sums.labeled.total
    right = float(sums.labeled.correct.sum()) + (served - labeled if is_lower else 0)
    share = right / served
    nothing = PostStratified(1.0, labeled, *(math.nan,) * 5)
    return replace(
        nothing, accuracy=share, accuracy_deviation=math.sqrt(share * (1 - share) / served)
    )


def labeled_days(connection: Connection, watched_version_id: int, name: str) -> list[LabeledDay]:
    """Return the days of a slice, oldest first."""
    columns = bin_day.c
    wanted = (
        select(
            columns.day,
            *(summed(columns[field]).label(field) for field in ("n", "correct", "served")),
        )
        .where(columns.watched_version_id == watched_version_id, columns.slice == name)
        .group_by(columns.day)
        .order_by(columns.day)
    )
    return [
        LabeledDay(row.day, int(row.n), float(row.correct), int(row.served))
        for row in connection.execute(wanted)
    ]


def judge_accuracy(
    days: Sequence[LabeledDay], reference: BinSums, *, audit: bool = False
) -> AccuracyVerdict:
    """Answer the question from the labels of each day, oldest first, and the card's reference."""
    before = share_interval(reference.total, float(reference.correct.sum()), alpha=_OF_REFERENCE)
    stretches = list(_stretches(days))
    answer, told = AccuracyAnswer.UNKNOWN, stretches[0]
    if reference.total and told.n:
        for found, bound, side in (
            (AccuracyAnswer.LOWER, before.lower, 1),
            (AccuracyAnswer.HIGHER, before.upper, -1),
        ):
            sure = [
                (_excess(each, bound), each)
                for each in stretches
                if side * (bound * each.n - each.correct) > 0
            ]
            surest = max(sure, key=lambda pair: pair[0], default=(-math.inf, told))
            if surest[0] >= 0:
                answer, told = found, surest[1]
                break
    now = accuracy_sequence(told.n, told.correct, alpha=told.alpha)
    lower, upper = now.lower - before.upper, now.upper - before.lower
    if answer is AccuracyAnswer.UNKNOWN and reference.total and max(-lower, upper) <= CLOSE:
        answer = AccuracyAnswer.AS_IT_WAS
    verdict = AccuracyVerdict(
        answer=answer,
        headline="",
        sentence="",
        promise=PROMISE,
        n=told.n,
        live=told.correct / told.n if told.n else math.nan,
        since=None if told.day is None else day_date(told.day).isoformat(),
        reference_n=reference.total,
        reference=float(reference.correct.sum()) / reference.total if reference.total else math.nan,
        difference_lower=lower,
        difference_upper=upper,
        audit=audit,
        chosen=sum(each.n for each in days) < _NEARLY_ALL * sum(each.served for each in days),
    )
    return replace(verdict, headline=_headline(verdict), sentence=_sentence(verdict))


def labels_for_accuracy(verdict: AccuracyVerdict) -> int | None:
    """Labels until "as it was" could be said; None if the reference is too small or absent."""
    if not verdict.reference_n:
        return None
    share = verdict.reference
    before = share_interval(
        verdict.reference_n, round(share * verdict.reference_n), alpha=_OF_REFERENCE
    )
    for n in _PLANS:
        now = accuracy_sequence(n, share * n, alpha=_OF_ALL)
        if max(before.upper - now.lower, now.upper - before.lower) <= CLOSE:
            return n
    return None


def _stretches(days: Sequence[LabeledDay]) -> Iterator[_Stretch]:
    """All labels, then those since each later day."""
    n, correct = sum(each.n for each in days), sum(each.correct for each in days)
    yield _Stretch(None, n, correct, _OF_ALL)
    for each, following in itertools.pairwise(days):
        n, correct, age = n - each.n, correct - each.correct, following.day - days[0].day
        if not each.n or not n:
            continue  # the same labels as before, or none
        yield _Stretch(following.day, n, correct, _OF_LATER / (age * (age + 1)))


def _excess(stretch: _Stretch, share: float) -> float:
    """Log-evidence against the share beyond what is needed."""
    return accuracy_evidence(stretch.n, stretch.correct, share) - math.log(1 / stretch.alpha)


def _headline(verdict: AccuracyVerdict) -> str:
    no, rest = (
        ("Among the labeled answers ", "; not known of all answers")
        if verdict.chosen
        else ("No: ", "")
    )
    if verdict.answer is AccuracyAnswer.LOWER:
        return f"{no}accuracy is lower, by at least {points(verdict.bound)}{rest}"
    if verdict.answer is AccuracyAnswer.HIGHER:
        return f"{no}accuracy is higher, by at least {points(verdict.bound)}{rest}"
    if verdict.answer is AccuracyAnswer.AS_IT_WAS:
        among = " among the labeled answers" if verdict.chosen else ""
        return f"Yes, as it was{among}, to within {points(verdict.bound)}"
    if not verdict.reference_n:
        return "Not known: the card has no reference accuracy"
    return (
        "Not known: the card's reference is too small to tell"
        if verdict.n and _small_reference(verdict)
        else "Not known yet"
    )


def _sentence(verdict: AccuracyVerdict) -> str:
    if not verdict.n:
        return "No answer has a label yet, so accuracy cannot be measured."
    answers = counted(verdict.n, "audited answer" if verdict.audit else "labeled answer")
    since = f" served since {verdict.since}" if verdict.since else ""
    right = f"The model was right in {percent(verdict.live)} of {answers}{since}"
    if not verdict.reference_n:
        return f"{right}. There is nothing to compare this with."
    return (
        f"{right}, and in {percent(verdict.reference)} of the "
        f"{counted(verdict.reference_n, 'answer')} of its card's reference. The difference is "
        f"between {_signed(verdict.difference_lower)} and {_signed(verdict.difference_upper)} "
        f"points.{_small_reference(verdict)}{_fairness(verdict)}"
    )


def _small_reference(verdict: AccuracyVerdict) -> str:
    if verdict.answer is not AccuracyAnswer.UNKNOWN or labels_for_accuracy(verdict) is not None:
        return ""
    return (
        " The reference is too small to say that accuracy is as it was to within "
        f"{100 * CLOSE:.0f} points, however many labels there are; a large drop would still be "
        "found."
    )


def _fairness(verdict: AccuracyVerdict) -> str:
    if not verdict.chosen:
        return ""
    if verdict.audit:
        return (
            " Some audited answers have no label; if those differ from the others, accuracy does "
            "too."
        )
    higher = verdict.answer is AccuracyAnswer.HIGHER
    which, seems = ("right or sure", "higher") if higher else ("wrong or unsure", "lower")
    return (
        f" Nothing shows that these labels were drawn at random: if {which} answers are labeled "
        f"more often than others, accuracy seems {seems} than it is."
    )


def _signed(ratio: float) -> str:
    return f"{round(100 * ratio, 1) + 0.0:+.1f}"
