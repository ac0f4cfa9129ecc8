"""All labels of an answer, and what each counts as.

A label of a truth source becomes the answer's current label, with one exception: an answer keeps
the truth of one reader. The label of another named reader is a second reading, because whoever
disagrees with a reader has not corrected them. A label without a reader corrects whatever was
there, as an adjudication does. A label that leaves a finding uncertain is never the truth.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from monitoring.ledger.database import in_lists
from monitoring.ledger.schema import feedback
from monitoring.ledger.watched_version import UNCERTAIN_LABEL, CountsAs
from monitoring.sources import LabelPolicy, SourcePolicies


class SaidLabel(NamedTuple):
    """A row of `feedback`. `label`: a class index, or UNCERTAIN_LABEL; None: not named."""

    feedback_id: int
    prediction_id: bytes
    watched_version_id: int
    label: int
    correct: int
    counts_as: int
    source: str | None
    reader: str | None
    observed_at_ns: int | None
    received_at_ns: int


def read_said(
    connection: Connection, prediction_ids: Iterable[bytes]
) -> dict[bytes, list[SaidLabel]]:
    """Return the labels of each of these answers, oldest first; an empty list if it has none."""
    said: dict[bytes, list[SaidLabel]] = defaultdict(list)
    for portion in in_lists(list(dict.fromkeys(prediction_ids))):
        said.update((prediction_id, []) for prediction_id in portion)
        of_answers = select(feedback).where(feedback.c.prediction_id.in_(portion))
        for row in connection.execute(of_answers.order_by(feedback.c.feedback_id)).all():
            label = SaidLabel._make(row)
            said[label.prediction_id].append(label)
    return dict(said)


def counts_as(
    policies: SourcePolicies,
    label: int,
    source: str | None,
    reader: str | None,
    said: Sequence[SaidLabel],
) -> CountsAs:
    """Return what a label counts as after those that were `said` of the answer."""
    if label == UNCERTAIN_LABEL:
        return CountsAs.UNCERTAIN
    policy = policies.of(source)
    if policy is not LabelPolicy.TRUTH:
        return CountsAs.PROXY if policy is LabelPolicy.PROXY else CountsAs.IGNORED
    owner = next((row for row in said if row.counts_as == CountsAs.TRUTH), None)
    if reader is None or owner is None or reader == owner.reader:
        return CountsAs.TRUTH
    return CountsAs.SECOND_READING


def recounted(said: Sequence[SaidLabel], policies: SourcePolicies) -> list[SaidLabel]:
    """Return the labels of an answer, oldest first, with what they count as by these policies."""
    rows: list[SaidLabel] = []
    for row in said:
        counts = counts_as(policies, row.label, row.source, row.reader, rows)
        rows.append(row._replace(counts_as=int(counts)))
    return rows


def latest_of(
    said: Sequence[SaidLabel], source: str | None, reader: str | None
) -> SaidLabel | None:
    """Return the latest label of this source and reader; None without any."""
    theirs = (row for row in reversed(said) if (row.source, row.reader) == (source, reader))
    return next(theirs, None)


def changes_among(truths: Sequence[SaidLabel]) -> int:
    """Return how often the current label changed."""
    return sum(row.label != before.label for before, row in itertools.pairwise(truths))
