"""Which answers have labels, and how that biases the figures.

Labels are rarely a random sample. Three things are done about it:

- Post-stratification weights each confidence bin by the answers served in it; see
    post_stratification.py.
- A random audit removes all selection bias; see audit.py.
- What has too few labels is named; see unchecked.py. The bounds of accuracy say how far the labels
  alone go: all answers without a label wrong, or all right (Manski 1990).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from calibration.bins import BinSums
from monitoring.findings.audit import Audit
from monitoring.findings.post_stratification import PostStratified, post_stratify
from monitoring.findings.unchecked import UncheckedAnswers, find_unchecked
from monitoring.ledger.schema import feedback, label_current
from monitoring.ledger.sums import LedgerSums

COMPLETE = 0.98  # of the answers have a label: selection can no longer explain much
_SOURCES_OF = 1_000  # the latest labels whose sources are counted


@dataclass(frozen=True)
class LabelSelection:
    """How the labels were selected.

    Attributes:
        coverage: share of the answers served that have a label.
        uncovered: share of the answers served that lie in confidence bins without any label.
        unchecked: kinds of answers that have too few of the labels on which the verdict rests.
        accuracy_lowest: accuracy if every answer without a label was wrong; NaN if nothing was
            served.
        accuracy_highest: if every one was right.
        post_stratified_ece: ECE of all labels with every bin at the weight of what was served in
            it.
        post_stratified: figures with those weights, of the labels on which the verdict rests.
        audit: None if no answer was drawn.
        sources: number of the latest labels by source; the empty name if none was given.
    """

    coverage: float
    uncovered: float
    unchecked: tuple[UncheckedAnswers, ...]
    accuracy_lowest: float
    accuracy_highest: float
    post_stratified_ece: float
    post_stratified: PostStratified
    audit: Audit | None
    sources: dict[str, int]

    @property
    def audit_decides(self) -> bool:
        """Whether verdict, comparison, slices and advice rest on the random audit alone."""
        return self.audit is not None and self.audit.decides

    @property
    def is_fair(self) -> bool:
        """Whether the choice of the labels cannot explain what they show."""
        if self.coverage >= COMPLETE:
            return True
        return self.audit is not None and self.audit.decides and not self.audit.may_be_biased


def describe_selection(
    sums: LedgerSums,
    slices: Mapping[str, LedgerSums],
    *,
    basis: BinSums,
    audit: Audit | None,
    sources: dict[str, int],
) -> LabelSelection:
    """Describe the labels of the answers served whose sums are given.

    Args:
        sums: of all labels, and of all answers.
        slices: with the labels on which the verdict rests.
        basis: the sums of the labels on which the verdict rests.
        audit: the random audit.
        sources: the result of `count_sources`.
    """
    labeled, served, total = sums.labeled, sums.served, int(sums.served.sum())
    right = float(labeled.correct.sum())
    return LabelSelection(
        coverage=labeled.total / total if total else math.nan,
        uncovered=float(served[labeled.n == 0].sum()) / total if total else math.nan,
        unchecked=find_unchecked(basis, served, slices),
        accuracy_lowest=right / total if total else math.nan,
        accuracy_highest=(right + total - labeled.total) / total if total else math.nan,
        post_stratified_ece=post_stratify(labeled, served).ece,
        post_stratified=post_stratify(basis, served),
        audit=audit,
        sources=sources,
    )


def count_sources(connection: Connection, watched_version_id: int) -> dict[str, int]:
    """Count the latest labels by source."""
    latest = (
        select(label_current.c.first_feedback_id)
        .where(label_current.c.watched_version_id == watched_version_id)
        .order_by(label_current.c.first_feedback_id.desc())
        .limit(_SOURCES_OF)
        .subquery()
    )
    counted = (
        select(feedback.c.source, func.count())
        .join(latest, latest.c.first_feedback_id == feedback.c.feedback_id)
        .group_by(feedback.c.source)
    )
    return {
        source or "": count
        for source, count in sorted(connection.execute(counted), key=lambda row: -row[1])
    }
