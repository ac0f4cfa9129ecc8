"""Labels counted again by the policies of their sources: what each counts as, the current labels
of their answers, and the sums.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, update

from monitoring.feedback.answers import ServedAnswer, find
from monitoring.feedback.labeling import CurrentLabel
from monitoring.feedback.said import SaidLabel, changes_among, read_said, recounted
from monitoring.ledger.database import in_lists, replacing
from monitoring.ledger.label_sources import CountsAs
from monitoring.ledger.locks import lock_tables
from monitoring.ledger.predictions import pruned_before_ns
from monitoring.ledger.schema import bin_day, bin_total, class_day, feedback, label_current
from monitoring.ledger.sum_changes import SumChanges
from monitoring.ledger.sum_tables import CLASSES, SliceNames, add_sums
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.sources import SourcePolicies

_KEEP = replacing(label_current)


@dataclass(frozen=True)
class SourcesChanged:
    """What a change of policies did.

    Attributes:
        labels: how many labels count as something else now.
        answers: how many answers have another current label, or one more, or none any more.
        cleared: how many active alarms are over, because no label that counts supports them.
        raised: how many alarms the labels that count now have raised.
    """

    labels: int = 0
    answers: int = 0
    cleared: int = 0
    raised: int = 0

    def __add__(self, other: "SourcesChanged") -> "SourcesChanged":
        return SourcesChanged(
            *(getattr(self, name) + getattr(other, name) for name in asdict(self))
        )


def count_again(
    connection: Connection,
    row: WatchedVersion,
    policies: SourcePolicies,
    prediction_ids: Sequence[bytes],
) -> SourcesChanged:
    """Count all labels of these answers of a version by its model's policies.

    The connection is in a transaction that locks the version.
    """
    lock_tables(connection, bin_day, bin_total, class_day)
    taken, given, done = SumChanges(), SumChanges(), SourcesChanged()
    for portion in in_lists(prediction_ids):
        done += _count_again(connection, policies, portion, taken, given)
    if done.answers:
        slices = SliceNames({row.watched_version_id: row})
        for sign, changes in ((-1, taken), (1, given)):
            days = changes.totals(connection, slices)
            add_sums(connection, _times(sign, days))
            CLASSES.add(connection, _times(sign, changes.classes.rows()))
    return done


def _count_again(
    connection: Connection,
    policies: SourcePolicies,
    ids: Sequence[bytes],
    taken: SumChanges,
    given: SumChanges,
) -> SourcesChanged:
    """Write what the labels of these answers count as, and their current labels."""
    answers = find(connection, ids)
    said = read_said(connection, ids)
    again = {key: recounted(rows, policies) for key, rows in said.items()}
    moved: dict[int, list[int]] = defaultdict(list)
    for key, rows in said.items():
        for old, new in zip(rows, again[key], strict=True):
            if old.counts_as != new.counts_as:
                moved[new.counts_as].append(new.feedback_id)
    for counts_as, labels in moved.items():
        for part in in_lists(labels):
            now = update(feedback).where(feedback.c.feedback_id.in_(part))
            connection.execute(now.values(counts_as=counts_as))
    changes = [
        (answer, current)
        for key, answer in answers.items()
        if (current := _current(answer, again[key])) != _stored(answer)
    ]
    gone = [answer.prediction_id for answer, current in changes if current is None]
    connection.execute(delete(label_current).where(label_current.c.prediction_id.in_(gone)))
    _KEEP.run(connection, [current for _, current in changes if current is not None])
    kept_ns = pruned_before_ns(connection)  # the sums before that cannot be recounted
    kept = [each for each in changes if each[0].served_at_ns >= kept_ns]
    _label(taken, [(answer, answer.label) for answer, _ in kept])
    _label(given, [(answer, current and current.label) for answer, current in kept])
    return SourcesChanged(sum(map(len, moved.values())), len(changes))


def _current(answer: ServedAnswer, said: Sequence[SaidLabel]) -> CurrentLabel | None:
    """Return the row of `label_current` that follows from the labels of an answer."""
    truths = [row for row in said if row.counts_as == CountsAs.TRUTH]
    if not truths:
        return None
    first, last = truths[0], truths[-1]
    which = (answer.prediction_id, answer.watched_version_id, first.feedback_id)
    return CurrentLabel(*which, changes_among(truths), last.label, last.correct, answer.confidence)


def _stored(answer: ServedAnswer) -> CurrentLabel | None:
    """Return the row of `label_current` that an answer has."""
    if answer.label is None:
        return None
    which = (answer.prediction_id, answer.watched_version_id, answer.first_feedback_id or 0)
    correct = int(answer.label == answer.predicted)
    return CurrentLabel(*which, answer.revision or 0, answer.label, correct, answer.confidence)


def _label(changes: SumChanges, labels: Sequence[tuple[ServedAnswer, int | None]]) -> None:
    labeled = [(answer, label) for answer, label in labels if label is not None]
    changes.label([answer for answer, _ in labeled], [label for _, label in labeled])


def _times(sign: int, rows: Mapping[Any, Sequence[float]]) -> dict[Any, list[float]]:
    return {key: [sign * value for value in sums] for key, sums in rows.items()}
