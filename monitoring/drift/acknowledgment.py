"""Acknowledging an alarm, and which one is meant: the one that is active, or one that somebody has
acknowledged already.

The `feedback_id` of the label that raised an alarm names it, together with its slice: no label
raises two there. An alarm of doubtful images is named by the day that raised it. So a form that is
sent twice, or by two people, restarts the watch once.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from monitoring.drift import scope_watch, watch
from monitoring.drift.events import ACKNOWLEDGED, AFRESH, ALARM, Event, latest, read, record
from monitoring.errors import AuditMissing
from monitoring.ledger.schema import DAY_NS, EVERYTHING, bin_total
from monitoring.ledger.sum_tables import AUDIT, DOUBTFUL
from monitoring.ledger.versions import load, of_images

NO_ALARM = (
    "There is no alarm to acknowledge, so nothing was done. To restart the watch without an alarm, "
    "send `reset` in place of `acknowledge`."
)


def raised_by(history: Sequence[Event], *, active: bool) -> int | None:
    """Return the feedback id that names the active alarm; None if no alarm is active.

    `history`: the events of the slice, oldest first. 0 names an alarm whose event is not there.
    """
    raised = latest(history, ALARM)
    return None if not active else raised.feedback_id if raised else 0


def why_nothing_is_done(history: Sequence[Event], alarm: int | None, *, active: bool) -> str:
    """Say why there is nothing to acknowledge; empty if the alarm that is meant is active.

    `alarm`: the feedback id that names it; None means the alarm that is active now.
    """
    standing = raised_by(history, active=active)
    if standing is not None and alarm in (None, standing):
        return ""
    meant = [
        place
        for place, event in enumerate(history)
        if event.kind == ALARM and alarm in (None, event.feedback_id)
    ]
    if not meant:
        return (
            NO_ALARM
            if alarm is None
            else f"No alarm of this watch is named {alarm}, so nothing was done."
        )
    ended = next((event for event in history[meant[-1] :] if event.kind in AFRESH), None)
    later = (
        ""
        if standing is None
        else " A later alarm is active; read about it before you acknowledge it."
    )
    return (
        f"This alarm was acknowledged already{_by_whom(ended)}. Nothing was done, and the watch "
        f"goes on.{later}"
    )


class Restart(NamedTuple):
    """A watch that somebody asked to restart; `unchanged` says why it was not, if it was not."""

    watched: watch.Watched
    unchanged: str = ""


def acknowledge(
    connection: Connection,
    watched_version_id: int,
    *,
    note: str | None,
    now_ns: int,
    actor: str | None = None,
    kind: str = ACKNOWLEDGED,
    audit: bool | None = None,
    chosen_labels: bool = False,
    name: str = EVERYTHING,
    alarm: int | None = None,
) -> Restart | None:
    """Reset the detector of a slice, with or without an alarm; None if it is not watched.

    `actor` is who asked for it. `kind` is ACKNOWLEDGED in response to an alarm, else RESET, for
    example after a repair of the scanner. `audit` says whether the watch, with all its tags, uses
    audited answers only from now on; None leaves that as it is. `chosen_labels` says that the alarm
    came of labels that were chosen by their outcome: the same labels would raise the next one, so
    the watch uses audited answers only; raises AuditMissing if none was drawn. `alarm` is the
    feedback id of the alarm that is acknowledged, None for the active one. If that alarm is not
    active, and `audit` changes nothing, the watch stays as it is. With `name` DOUBTFUL it is the
    watch of doubtful images, which has no labels.
    """
    said = {"note": note} | ({} if actor is None else {"actor": actor})
    if name == DOUBTFUL:
        return _restart_scope(
            connection, watched_version_id, said, kind=kind, alarm=alarm, now_ns=now_ns
        )
    if chosen_labels:
        _require_audit(connection, watched_version_id)
        audit = True
    watched = watch.load(connection, watched_version_id, name)
    changes_audit = watched is not None and audit not in (None, watched.settings.audit)
    if watched is not None and kind == ACKNOWLEDGED and (alarm is not None or not changes_audit):
        history = read(connection, watched_version_id, name)
        if unchanged := why_nothing_is_done(history, alarm, active=watched.detector.active):
            return Restart(watched, unchanged)
    if audit is not None:
        watch.listen_to_audited(connection, watched_version_id, audit=audit, now_ns=now_ns)
    watched = watch.load(connection, watched_version_id, name)
    if watched is None:
        return None
    detail = said | {"was_active": watched.detector.active, "labels": watched.detector.labels}
    detail |= {"chosen_labels": True} if chosen_labels else {}
    watched.detector.reset()
    watched.save(connection)
    watch.append_event(connection, watched, kind, detail, now_ns=now_ns)
    return Restart(watched)


def _restart_scope(
    connection: Connection,
    watched_version_id: int,
    detail: dict[str, Any],
    *,
    kind: str,
    alarm: int | None,
    now_ns: int,
) -> Restart | None:
    """Restart the watch of doubtful images on the next day; None without a scope check."""
    row = of_images(connection, *load(connection, [watched_version_id]))
    evidence = scope_watch.find_evidence(connection, row, now_ns=now_ns)
    watched, key = watch.load(connection, watched_version_id), row.watched_version_id
    if watched is None or evidence is None:
        return None
    active = evidence.raised_on is not None
    scope_watch.note_alarm(connection, row, now_ns=now_ns)
    unchanged = why_nothing_is_done(read(connection, key, DOUBTFUL), alarm, active=active)
    if kind == ACKNOWLEDGED and unchanged:
        return Restart(watched, unchanged)
    detail = detail | {"was_active": active}
    day = now_ns // DAY_NS
    record(connection, key, kind, detail, feedback_id=day, now_ns=now_ns, name=DOUBTFUL)
    return Restart(watched)


def _require_audit(connection: Connection, watched_version_id: int) -> None:
    drawn = select(bin_total.c.served).where(
        bin_total.c.watched_version_id == watched_version_id,
        bin_total.c.slice == AUDIT,
        bin_total.c.served > 0,
    )
    if connection.scalar(drawn.limit(1)) is None:
        raise AuditMissing(
            "No answer of this version was drawn for an audit, so the watch would see no labels. "
            "Start an audit (CANDOR_AUDIT_SHARE), or acknowledge without 'chosen_labels'."
        )


def _by_whom(ended: Event | None) -> str:
    if ended is None:
        return ""
    by = f" by {ended.detail['actor']}" if ended.detail.get("actor") else ""
    note = f": “{ended.detail['note']}”" if ended.detail.get("note") else ""
    return (
        f"{by} on {datetime.fromtimestamp(ended.at_ns / 1e9, tz=UTC):%Y-%m-%d at %H:%M UTC}{note}"
    )
