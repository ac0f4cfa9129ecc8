"""Replays: a detector is rebuilt by showing it the first labels in the ledger again, in their
order.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings, DriftState
from monitoring.drift import events
from monitoring.drift.events import Chapter, last_chapter
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger import versions
from monitoring.ledger.schema import EVERYTHING, feedback, label_current, prediction
from monitoring.ledger.slices import place


def replay(
    connection: Connection,
    watched_version_id: int,
    name: str = EVERYTHING,
    *,
    until: int | None = None,
) -> DriftDetector:
    """Rebuild the detector of a slice from the first labels since its last start, acknowledgment or
    checkpoint.

    `until` is the last feedback id to show, by default the latest. Raises LookupError if it was
    never watched.
    """
    chapter = last_chapter(events.read(connection, watched_version_id, name))
    detector, since = _at_start(chapter), chapter.since
    for changed_at, changed in chapter.changes:
        show(detector, first_labels(connection, watched_version_id, since, changed_at, name=name))
        detector, since = detector.with_settings(changed), changed_at
    show(detector, first_labels(connection, watched_version_id, since, until, name=name))
    return detector


def seen_since_reset(
    connection: Connection,
    watched_version_id: int,
    settings: DriftSettings,
    *,
    name: str,
    until: int,
    latest: int,
) -> list[FirstLabel]:
    """Return the labels that the detector of a slice saw since its last reset, among the `latest`
    of all labels.
    """
    since = last_chapter(events.read(connection, watched_version_id, name)).began
    labels = first_labels(connection, watched_version_id, since, until, name=name, latest=latest)
    return [label for label in labels if label.audited or not settings.audit]


def first_labels(
    connection: Connection,
    watched_version_id: int,
    after: int,
    until: int | None,
    *,
    name: str = EVERYTHING,
    latest: int | None = None,
) -> list[FirstLabel]:
    """Return the first labels of a slice with feedback ids in (after, until], in order, among the
    `latest` of all.
    """
    first_id = label_current.c.first_feedback_id
    columns = (
        label_current.c.confidence,
        feedback.c.correct,
        prediction.c.predicted,
        prediction.c.audit,
    )
    wanted = (
        select(first_id, *columns, prediction.c.tags)
        .join(feedback, feedback.c.feedback_id == first_id)
        .join(prediction, prediction.c.prediction_id == label_current.c.prediction_id)
        .where(label_current.c.watched_version_id == watched_version_id, first_id > after)
        .order_by(first_id.desc())
    )
    if until is not None:
        wanted = wanted.where(first_id <= until)
    rows = connection.execute(wanted.limit(latest)).all()
    labels = [
        FirstLabel(feedback_id, confidence, bool(correct), predicted, audit is not None, tags)
        for feedback_id, confidence, correct, predicted, audit, tags in reversed(rows)
    ]
    return labels if name == EVERYTHING else _of_slice(connection, watched_version_id, labels, name)


def show(detector: DriftDetector, labels: Sequence[FirstLabel]) -> int | None:
    """Update the detector; return the feedback id of the label that raised the alarm, if any."""
    if detector.settings.audit:
        labels = [label for label in labels if label.audited]
    if not labels:
        return None
    ids, confidence, correct, predicted, *_ = zip(*labels, strict=True)
    raised = detector.update_many(confidence, correct, predicted)
    return None if raised is None else int(ids[raised])


def _of_slice(
    connection: Connection, watched_version_id: int, labels: Sequence[FirstLabel], name: str
) -> list[FirstLabel]:
    (row,) = versions.load(connection, [watched_version_id])
    texts = {label.tags for label in labels if label.tags is not None}
    inside = {text for text in texts if name in place(connection, row.model, text, admit=False)[0]}
    return [label for label in labels if label.tags in inside]


def _at_start(chapter: Chapter) -> DriftDetector:
    """Return the detector at the chapter's start."""
    state = DriftState.from_dict(chapter.state) if chapter.state else None
    return DriftDetector(chapter.settings, state)
