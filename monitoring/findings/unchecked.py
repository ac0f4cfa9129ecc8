"""Answers that no figure speaks for: ranges of confidence, predicted classes and tag values with
too few labels.

A label says something about answers of its kind only. Where 5 % of the answers served or more are
of a kind that was hardly labeled, the labels of other kinds do not show whether confidence holds
there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.bins import BinSums
from calibration.wording import counted
from monitoring.findings.phrases import answers_in_slice, percent
from monitoring.ledger.sums import LedgerSums

NOTABLE_SHARE = 0.05  # of the answers served; smaller kinds are not named
FEW_IN_BIN, FEW_IN_SLICE = 30, 20  # labels below which a gap of ten points can go unseen
_NEGLECTED = 0.25  # of the labels that a bin's share of the answers would give it
_NEARLY_ALL = 0.9  # of a slice: whoever labels that many has left out little
_NAMED = 3  # kinds in a sentence
_TESTED = ("predicted:", "tag:")


@dataclass(frozen=True)
class UncheckedAnswers:
    """Answers of one kind, named as in a sentence: share of all answers, number of labels."""

    name: str
    share: float
    labels: int


def find_unchecked(
    labeled: BinSums, served: np.ndarray, slices: Mapping[str, LedgerSums]
) -> tuple[UncheckedAnswers, ...]:
    """Return what is not checked: ranges of confidence, then slices; empty without labels."""
    total = int(served.sum())
    if not total or not labeled.total:
        return ()
    kinds = [
        UncheckedAnswers(answers_in_slice(name), int(each.served.sum()) / total, each.labeled.total)
        for name, each in slices.items()
        if name.startswith(_TESTED)
        and each.labeled.total < min(FEW_IN_SLICE, _NEARLY_ALL * each.served.sum())
    ]
    notable = [kind for kind in kinds if kind.share >= NOTABLE_SHARE]
    by_share = sorted(notable, key=lambda kind: (-kind.share, kind.name))
    return (*_ranges(labeled, served), *by_share)


def not_checked(unchecked: Sequence[UncheckedAnswers]) -> str:
    """What is not checked, as a sentence; empty if everything is.

    >>> not_checked([UncheckedAnswers('answers of "normal"', 0.31, 4)])
    'Not checked: answers of "normal" (31.0 % of all answers, 4 labels).'
    """
    if not unchecked:
        return ""
    more = len(unchecked) - _NAMED
    rest = f"; and {counted(more, 'more kind')}" if more > 0 else ""
    names = [
        f"{each.name} ({percent(each.share)} of all answers, "
        f"{counted(each.labels, 'label') if each.labels else 'none'}"
        f"{'' if each.labels else ' labeled'})"
        for each in unchecked[:_NAMED]
    ]
    return f"Not checked: {'; '.join(names)}{rest}."


def _ranges(labeled: BinSums, served: np.ndarray) -> Iterator[UncheckedAnswers]:
    """Neighboring bins that are hardly labeled, if together they hold a notable share."""
    total, bins = int(served.sum()), len(served)
    expected = labeled.total * served / total
    neglected = (served > 0) & (
        (labeled.n == 0) | ((labeled.n < FEW_IN_BIN) & (labeled.n < _NEGLECTED * expected))
    )
    if served[neglected].sum() < NOTABLE_SHARE * total:
        return
    ends = np.flatnonzero(
        np.diff([False, *(neglected | ((served == 0) & (labeled.n == 0))), False])
    )
    for first, last in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True):
        inside = np.flatnonzero(neglected[first:last]) + first
        if len(inside):
            first, last = int(inside[0]), int(inside[-1]) + 1
            share, labels = (
                float(served[first:last].sum()) / total,
                int(labeled.n[first:last].sum()),
            )
            yield UncheckedAnswers(
                f"answers with a confidence of {first / bins:.2f} to {last / bins:.2f}",
                share,
                labels,
            )
