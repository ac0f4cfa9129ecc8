"""The drift watches of tags in a report: which tags are watched by themselves, and where each of
them stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Connection

from monitoring.drift import events, watch
from monitoring.drift.acknowledgment import raised_by
from monitoring.drift.tag_settings import tag_of
from monitoring.drift.watch import Watched
from monitoring.findings.drift import audited_at
from monitoring.ledger.schema import EVERYTHING


@dataclass(frozen=True)
class TagDrift:
    """The detector of the answers with one tag.

    Attributes:
        tag: key and value, such as `site=B`; the value `(other)` is all values past the first
            fifty.
        labels: of such answers, since the last reset.
        log_evalue: minus infinity before the first label since then.
        alarm: the detail of the active alarm's event.
        alarm_feedback_id: names the active alarm when it is acknowledged; the id of the label that
            raised it.
        alarm_audit: whether only audited answers counted when it was raised.
    """

    tag: str
    labels: int
    log_evalue: float
    log_threshold: float
    active: bool
    direction: str | None
    alarm_label: int | None
    tolerance: float
    alarm_audit: bool
    alarm: (
        Annotated[dict[str, Any], Meta(description="depends on the release that raised it")] | None
    )
    alarm_feedback_id: int | None = None

    @property
    def evidence(self) -> float:
        """The share of the evidence that an alarm takes, in [0, 1]; 1 while the alarm is active."""
        return 1.0 if self.active else min(1.0, max(0.0, self.log_evalue) / self.log_threshold)


@dataclass(frozen=True)
class TagWatches:
    """`keys`: the watched ones; `missing`: those of which no answer has a label; `watches`: most
    evidence first.
    """

    keys: tuple[str, ...]
    missing: tuple[str, ...]
    watches: tuple[TagDrift, ...]

    @property
    def active(self) -> tuple[TagDrift, ...]:
        """Those with an active alarm."""
        return tuple(each for each in self.watches if each.active)


def find_tag_watches(
    connection: Connection, watched_version_id: int, history: Sequence[events.Event]
) -> TagWatches | None:
    """Load the detectors of tags; None if no tag is watched. `history`: the events of the
    calibration and its tags.
    """
    whole = watch.load(connection, watched_version_id)
    if whole is None or not whole.tags.keys:
        return None
    watched = [
        each for each in watch.load_all(connection, watched_version_id) if each.name != EVERYTHING
    ]
    found = [
        _tag_drift(each, [event for event in history if event.name == each.name])
        for each in watched
    ]
    seen = {each.tag.partition("=")[0] for each in found}
    missing = tuple(key for key in whole.tags.keys if key not in seen)
    return TagWatches(
        whole.tags.keys, missing, tuple(sorted(found, key=lambda each: (-each.evidence, each.tag)))
    )


def _tag_drift(watched: Watched, history: list[events.Event]) -> TagDrift:
    detector, raised = watched.detector, events.latest(history, events.ALARM)
    return TagDrift(
        tag=tag_of(watched.name),
        labels=detector.labels,
        log_evalue=detector.log_evalue,
        log_threshold=detector.log_threshold,
        active=detector.active,
        direction=detector.direction,
        alarm_label=detector.alarm_label,
        tolerance=detector.settings.tolerance,
        alarm_audit=detector.active and audited_at(history, raised, now=detector.settings.audit),
        alarm=raised.detail if raised and detector.active else None,
        alarm_feedback_id=raised_by(history, active=detector.active),
    )
