"""The drift watch: detectors of a watched version, whose states are saved in the transaction that
records the labels.

One sees all answers; if tags are watched, each of their values has one of its own, which starts at
its first label. The ledger bounds the values of a key: those past the first fifty share one,
`(other)`. Answers without the tag are seen by the watch of all answers alone.

States and labels always agree: after a crash the detectors have seen exactly the labels in the
ledger, and a `replay` of the first labels since the last start or acknowledgment gives the same
states bit for bit.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings, DriftState
from monitoring.drift import alarm as alarms
from monitoring.drift.events import ALARM, CHECKPOINT, ENDED, SETTINGS, STARTED, TAGS, record
from monitoring.drift.patient_bets import place_bets
from monitoring.drift.replay import heard, read_settings, show
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger import versions
from monitoring.ledger.database import replacing
from monitoring.ledger.schema import EVERYTHING, monitor_state

_KEEP = replacing(monitor_state)
_NO_TAGS = TagSettings()


@dataclass(frozen=True)
class Watched:
    """The detector of a slice, and its last feedback id, which counts unseen corrections.

    `name` is that of the slice; `tags`, of the watch of all answers, says which tags have detectors
    of their own.
    """

    watched_version_id: int
    detector: DriftDetector
    last_feedback_id: int
    name: str = EVERYTHING
    tags: TagSettings = _NO_TAGS

    @property
    def settings(self) -> DriftSettings:
        return self.detector.settings

    def as_checkpoint(self, reason: str) -> dict[str, Any]:
        """Return the detail of an event from which a replay can begin."""
        return {
            "reason": reason,
            "settings": asdict(self.settings),
            "state": self.detector.state.as_dict(),
        }

    def save(self, connection: Connection) -> None:
        """Write the state in the transaction that also holds the labels that led to it."""
        row = (
            self.watched_version_id,
            self.name,
            json.dumps(asdict(self.settings)),
            json.dumps(self.detector.state.as_dict()),
            self.last_feedback_id,
            json.dumps(self.tags.as_dict()) if self.tags.keys else None,
        )
        _KEEP.run(connection, [row])


def start(
    connection: Connection,
    watched_version_id: int,
    settings: DriftSettings,
    *,
    now_ns: int,
    tags: TagSettings | None = None,
) -> Watched:
    """Start or continue to watch a version and, if class-wise, each of its card's classes.

    The findings of a version share the false alarms in equal parts. Their answers all claim the
    same class, presence, so no class has a detector. The tolerance is flat in log-odds, and at
    least the standard error of the bias that a fit on the card's reference has there.

    New settings apply to the labels to come and are recorded as an event. `audit` and `tags` belong
    to the ledger: a process that draws none joins a watch of audited answers as it is, and one with
    `tags` None leaves them as they are. Only `acknowledge` with `audit=False` ends the first, and
    `tags` without keys the second.
    """
    known = load(connection, watched_version_id)
    tags = tags if tags is not None else known.tags if known is not None else _NO_TAGS
    audit = settings.audit or (known is not None and known.settings.audit)
    settings = _of_version(connection, watched_version_id, replace(settings, audit=audit))
    settings = tags.of_everything(settings)
    if known is not None and (known.settings, known.tags) == (settings, tags):
        return known
    watched = replace(known or Watched(watched_version_id, DriftDetector(settings), 0), tags=tags)
    if watched.settings != settings:
        watched = replace(watched, detector=watched.detector.with_settings(settings))
    watched.save(connection)
    if known is None or known.settings != settings:
        kind = STARTED if known is None else SETTINGS
        append_event(connection, watched, kind, asdict(settings), now_ns=now_ns)
    if tags != (known.tags if known is not None else _NO_TAGS):
        append_event(connection, watched, TAGS, tags.as_dict(), now_ns=now_ns)
    _follow(connection, watched, now_ns=now_ns)
    return watched


def _of_version(
    connection: Connection, watched_version_id: int, settings: DriftSettings
) -> DriftSettings:
    """Return the settings of the watch of a version, or of one of its findings."""
    (row,) = versions.load(connection, [watched_version_id])
    return row.watch_settings(settings, family=versions.count_findings(connection, row))


def load(connection: Connection, watched_version_id: int, name: str = EVERYTHING) -> Watched | None:
    """Return the saved detector; None if the slice is not watched."""
    return next(iter(load_all(connection, watched_version_id, [name])), None)


def load_all(
    connection: Connection, watched_version_id: int, names: Iterable[str] | None = None
) -> list[Watched]:
    """Return the saved detectors of a version or of some slices: all answers first, then tags."""
    wanted = select(monitor_state).filter_by(watched_version_id=watched_version_id)
    if names is not None:
        wanted = wanted.where(monitor_state.c.slice.in_(list(names)))
    return [decode(row) for row in connection.execute(wanted.order_by(monitor_state.c.slice)).all()]


def decode(row: Row[Any]) -> Watched:
    """Return the detector in a row of monitor_state."""
    state = DriftState.from_dict(json.loads(row.state))
    detector = DriftDetector(read_settings(json.loads(row.settings)), state)
    tags = TagSettings.from_dict(json.loads(row.tags)) if row.tags else _NO_TAGS
    return Watched(row.watched_version_id, detector, row.last_feedback_id, row.slice, tags)


def advance(
    connection: Connection,
    watched_version_id: int,
    labels: Sequence[FirstLabel],
    slices_of: Callable[[FirstLabel], Sequence[str]],
    *,
    last_feedback_id: int,
    now_ns: int,
) -> int:
    """Show the first labels of a transaction to the detectors; return how many alarms they raised.

    Args:
        connection: in the transaction that records the labels.
        watched_version_id: their version.
        labels: in their order.
        slices_of: the slices of a label's answer.
        last_feedback_id: of the transaction, corrections included.
        now_ns: for the events.
    """
    whole = load(connection, watched_version_id)
    if whole is None:
        whole = start(connection, watched_version_id, DriftSettings(), now_ns=now_ns)
    placed = place_bets(connection, watched_version_id, heard(labels, whole.settings))
    alarms: int = _show_and_save(
        connection, whole, placed, last_feedback_id=last_feedback_id, now_ns=now_ns
    )
    if whole.tags.keys:
        alarms += _advance_tags(connection, whole, placed, slices_of, now_ns=now_ns)
    return alarms


def _show_and_save(
    connection: Connection,
    known: Watched,
    labels: Sequence[FirstLabel],
    *,
    last_feedback_id: int,
    now_ns: int,
) -> bool:
    """Show first labels to a detector and save it; return whether one raised the alarm."""
    raised_at = show(known.detector, labels)
    replace(known, last_feedback_id=last_feedback_id).save(connection)
    if raised_at is not None:
        detail = alarms.describe(connection, known.watched_version_id, known.detector)
        raised = replace(known, last_feedback_id=raised_at)
        append_event(connection, raised, ALARM, detail, now_ns=now_ns)
    return raised_at is not None


def checkpoint(
    connection: Connection, watched_version_id: int, reason: str, *, now_ns: int
) -> None:
    """Save the detectors' states as events, before labels that they have seen are deleted."""
    for watched in load_all(connection, watched_version_id):
        append_event(connection, watched, CHECKPOINT, watched.as_checkpoint(reason), now_ns=now_ns)


def append_event(
    connection: Connection, watched: Watched, kind: str, detail: dict[str, Any], *, now_ns: int
) -> None:
    """Record an event of a watch, after its last label."""
    record(
        connection,
        watched.watched_version_id,
        kind,
        detail,
        feedback_id=watched.last_feedback_id,
        now_ns=now_ns,
        name=watched.name,
    )


def listen_to_audited(
    connection: Connection, watched_version_id: int, *, audit: bool, now_ns: int
) -> None:
    """Use audited answers only, or all, from now on."""
    whole = load(connection, watched_version_id)
    if whole is None or whole.settings.audit == audit:
        return
    whole = replace(
        whole, detector=whole.detector.with_settings(replace(whole.settings, audit=audit))
    )
    whole.save(connection)
    append_event(connection, whole, SETTINGS, asdict(whole.settings), now_ns=now_ns)
    _follow(connection, whole, now_ns=now_ns)


def _follow(connection: Connection, whole: Watched, *, now_ns: int) -> None:
    """Give the watches of tags the settings that follow from the whole; end those left out."""
    for watched in load_all(connection, whole.watched_version_id):
        if watched.name == EVERYTHING:
            continue
        if not whole.tags.watches(watched.name):
            this = {"watched_version_id": watched.watched_version_id, "slice": watched.name}
            connection.execute(delete(monitor_state).filter_by(**this))
            append_event(connection, watched, ENDED, {}, now_ns=now_ns)
            continue
        settings = whole.tags.of_slice(whole.settings, watched.name)
        if settings != watched.settings:
            # Labels of other slices have arrived since its last one: the change applies after all
            # of them.
            changed = replace(
                watched,
                detector=watched.detector.with_settings(settings),
                last_feedback_id=max(watched.last_feedback_id, whole.last_feedback_id),
            )
            changed.save(connection)
            append_event(connection, changed, SETTINGS, asdict(settings), now_ns=now_ns)


def _advance_tags(
    connection: Connection,
    whole: Watched,
    labels: Sequence[FirstLabel],
    slices_of: Callable[[FirstLabel], Sequence[str]],
    *,
    now_ns: int,
) -> int:
    """Show labels, as `show` takes them, to the detectors of their tags; count the alarms."""
    by_slice: dict[str, list[FirstLabel]] = defaultdict(list)
    for label in labels:
        if label.tags is not None:
            for name in slices_of(label):
                if whole.tags.watches(name):
                    by_slice[name].append(label)
    known = {each.name: each for each in load_all(connection, whole.watched_version_id, by_slice)}
    alarms = 0
    for name, given in sorted(by_slice.items()):
        ids = [label.feedback_id for label in given]
        watched = known.get(name) or start_tag(connection, whole, name, min(ids), now_ns=now_ns)
        alarms += _show_and_save(
            connection, watched, given, last_feedback_id=max(ids), now_ns=now_ns
        )
    return alarms


def start_tag(
    connection: Connection, whole: Watched, name: str, first_id: int, *, now_ns: int
) -> Watched:
    """Start the watch of a tag's slice before its first label."""
    settings = whole.tags.of_slice(whole.settings, name)
    watched = Watched(whole.watched_version_id, DriftDetector(settings), first_id - 1, name)
    append_event(connection, watched, STARTED, asdict(settings), now_ns=now_ns)
    return watched
