"""The drift detectors' states in a report, of all answers and of tags: the evidence, where it lies,
its direction, and the active alarms.

The evidence of calibrated models rises with the number of labels while nothing is wrong, so
half of what an alarm takes is its normal level, not half an alarm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DIRECTIONS
from monitoring.diagnosis.facts import Alarm
from monitoring.drift import events
from monitoring.drift.acknowledgment import raised_by
from monitoring.drift.alarm import stream_name
from monitoring.drift.tag_settings import tag_of
from monitoring.drift.watch import Watched
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.watched_version import WatchedVersion

_STREAM_LIMIT = 3  # streams that a report names


@dataclass(frozen=True)
class StreamEvidence:
    """A stream and direction with its `share` of all evidence, in [0, 1]; `name`: class or bin."""

    stream: str
    name: str | None
    direction: str
    share: float


@dataclass(frozen=True, kw_only=True)
class DetectorState:
    """A drift detector's state.

    Attributes:
        labels: that it has seen since the last reset.
        flat: whether the tolerance is the same at every log-odds.
        log_evalue: minus infinity before the first of them.
        alarm: the detail of the active alarm's event: stream, name, direction, and `since`, the
            estimated start.
        raised_s: when the active alarm was raised, seconds since 1970; None if its event is gone.
        alarm_audit: whether only audited answers counted when the active alarm was raised.
        alarm_feedback_id: names the active alarm when it is acknowledged; the id of the label that
            raised it.
    """

    labels: int
    log_evalue: float
    log_threshold: float
    active: bool
    direction: str | None
    alarm_label: int | None
    raised_s: float | None = None
    tolerance: float
    flat: bool = False
    alarm_audit: bool = False
    alarm: (
        Annotated[dict[str, Any], Meta(description="depends on the release that raised it")] | None
    ) = None
    alarm_feedback_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Drift(DetectorState):
    """The detector of all answers.

    Attributes:
        streams: those with the most evidence, in descending order.
        audit: whether the detector uses audited answers only.
        class_wise: whether it watches each predicted class, or confidence alone.
        shares_alarms: whether watches of tags share the false alarms, so that `average_run_length`
            is of all together.
    """

    average_run_length: float
    audit: bool = False
    class_wise: bool = True
    shares_alarms: bool = False
    streams: tuple[StreamEvidence, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TagDrift(DetectorState):
    """The detector of the answers with one tag, such as `site=B`; the value `(other)` is all values
    past the first fifty.
    """

    tag: str

    @property
    def evidence(self) -> float:
        """The share of the evidence that an alarm takes, in [0, 1]; 1 while the alarm is active."""
        return 1.0 if self.active else min(1.0, max(0.0, self.log_evalue) / self.log_threshold)


@dataclass(frozen=True)
class TagWatches:
    """The watched keys, those without any labeled answer, and the watches, most evidence first."""

    keys: tuple[str, ...]
    missing: tuple[str, ...]
    watches: tuple[TagDrift, ...]

    @property
    def active(self) -> tuple[TagDrift, ...]:
        return tuple(each for each in self.watches if each.active)


def find_drift(
    row: WatchedVersion, watches: Sequence[Watched], history: Sequence[events.Event]
) -> Drift | None:
    """Return the detector's state; None if the version is not watched. `history`: its events."""
    watched = next((each for each in watches if each.name == EVERYTHING), None)
    if watched is None:
        return None
    settings = watched.settings
    return Drift(
        **_state(watched, history),
        average_run_length=settings.average_run_length,
        audit=settings.audit,
        class_wise=settings.class_wise,
        shares_alarms=settings.part < 1,
        streams=_streams(row, watched.detector),
    )


def find_tag_watches(
    watches: Sequence[Watched], history: Sequence[events.Event]
) -> TagWatches | None:
    """Return the detectors of tags; None if no tag is watched. `history`: with events of tags."""
    keys = next((each.tags.keys for each in watches if each.name == EVERYTHING), ())
    if not keys:
        return None
    tags = [
        TagDrift(**_state(each, history), tag=tag_of(each.name))
        for each in watches
        if each.name != EVERYTHING
    ]
    seen = {each.tag.partition("=")[0] for each in tags}
    most_first = sorted(tags, key=lambda each: (-each.evidence, each.tag))
    return TagWatches(keys, tuple(key for key in keys if key not in seen), tuple(most_first))


def _state(watched: Watched, history: Sequence[events.Event]) -> dict[str, Any]:
    """The fields of DetectorState."""
    detector = watched.detector
    own = [event for event in history if event.name == watched.name]
    raised = events.latest(own, events.ALARM)
    return {
        "labels": detector.labels,
        "log_evalue": detector.log_evalue,
        "log_threshold": detector.log_threshold,
        "active": detector.active,
        "direction": detector.direction,
        "alarm_label": detector.alarm_label,
        "raised_s": raised.at_ns / 1e9 if raised and detector.active else None,
        "tolerance": detector.settings.tolerance,
        "flat": detector.settings.flat,
        "alarm_audit": detector.active and _audited_at(own, raised, now=detector.settings.audit),
        "alarm": raised.detail if raised and detector.active else None,
        "alarm_feedback_id": raised_by(own, active=detector.active),
    }


def _audited_at(history: list[events.Event], raised: events.Event | None, *, now: bool) -> bool:
    """Whether the watch used audited answers only when it raised the alarm."""
    changes = (events.STARTED, events.SETTINGS)
    before = history[: history.index(raised)] if raised else []
    details = [event.detail for event in before if event.kind in changes]
    return bool(details[-1].get("audit")) if details else now


def _streams(version: WatchedVersion, detector: DriftDetector) -> tuple[StreamEvidence, ...]:
    evidence = detector.evidence.ravel()
    total = float(evidence.sum())
    if not total:
        return ()
    found = []
    for index in np.argsort(-evidence, kind="stable")[:_STREAM_LIMIT].tolist():
        row, side = divmod(index, 2)
        stream = detector.settings.stream(row)
        name = stream_name(version, stream)
        found.append(
            StreamEvidence(stream.kind, name, DIRECTIONS[side], float(evidence[index]) / total)
        )
    return tuple(found)


def active_alarms(watches: Sequence[Watched], history: Sequence[events.Event]) -> tuple[Alarm, ...]:
    """Return the active alarms, that of all answers first; `history`: with events of tags."""
    return tuple(_alarm(each, history) for each in watches if each.detector.active)


def _alarm(watched: Watched, history: Sequence[events.Event]) -> Alarm:
    own = [event for event in history if event.name == watched.name]
    raised = events.latest(own, events.ALARM)
    return Alarm(
        tag=None if watched.name == EVERYTHING else tag_of(watched.name),
        direction=watched.detector.direction or "over",
        raised_s=raised.at_ns / 1e9 if raised else math.nan,
        feedback_id=raised_by(own, active=True),
        labels=watched.detector.labels,
        log_evalue=watched.detector.log_evalue,
        log_threshold=watched.detector.log_threshold,
    )


# Log-evidence of calibrated streams, 5 % and 95 % quantiles by labels: python -m
# benchmarks.monitoring --only looking
_CALM_LABELS = (100, 300, 1_000, 5_000, 20_000)
_CALM_LOWER = (4.17, 4.97, 5.71, 6.19, 6.37)
_CALM_UPPER = (4.73, 5.49, 6.52, 7.46, 7.58)


@dataclass(frozen=True)
class CalmEvidence:
    """The log-evidence of nine in ten calibrated models, as shares of what an alarm takes."""

    lower: float
    upper: float


def calm_evidence(drift: Drift) -> CalmEvidence | None:
    """The evidence of nine in ten calibrated models, as shares of what an alarm takes.

    None for fewer labels than were simulated. Beyond the last simulated number, its range is
    returned.
    """
    if drift.labels < _CALM_LABELS[0]:
        return None
    at, known = math.log(drift.labels), np.log(_CALM_LABELS)
    lower, upper = (
        min(1.0, float(np.interp(at, known, ends)) / drift.log_threshold)
        for ends in (_CALM_LOWER, _CALM_UPPER)
    )
    return CalmEvidence(lower, upper)
