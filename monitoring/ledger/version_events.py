"""Which versions are in production, and which answer as shadows: events that servers note.

A client never sees a shadow's answer, so no label can name it. Its id differs from the id of the
sent answer in the last bit, which is random in a UUIDv7. So a label of the sent answer also finds
the shadow's. An event `shadowed` marks that a ledger has such answers.
"""

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, select

from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import EVERYTHING, monitor_event, monitor_state, watched_versions
from monitoring.ledger.versions import load
from monitoring.ledger.watched_version import WatchedVersion

PROMOTED = "promoted"
SHADOWED = "shadowed"
_IS_OF_VERSION = monitor_event.c.watched_version_id == watched_versions.c.watched_version_id


def note_promotion(connection: Connection, watched_version_id: int, *, now_ns: int) -> None:
    """Record that this version is in production, unless the last promotion says so."""
    lock(connection, Lock.PROMOTIONS)
    (row,) = load(connection, [watched_version_id])
    this = watched_versions.c.watched_version_id
    same = watched_versions.c.finding == row.finding
    if _last_promoted(connection, row.model, this, same) == watched_version_id:
        return
    last_feedback = select(monitor_state.c.last_feedback_id).filter_by(
        watched_version_id=watched_version_id, slice=EVERYTHING
    )
    _note(
        connection,
        watched_version_id,
        PROMOTED,
        now_ns=now_ns,
        detail={"version": row.version},
        feedback_id=connection.scalar(last_feedback) or 0,
    )


def promoted_version(connection: Connection, model: str) -> int | None:
    """Return the version that a server last recorded as the model's production, or None."""
    if "\0" in model:  # which PostgreSQL refuses to compare
        return None
    return _last_promoted(connection, model, watched_versions.c.version)


def superseded(connection: Connection) -> set[int]:
    """Return the versions that another one of their model has replaced in production."""
    columns, version = monitor_event.c, watched_versions.c
    last = func.max(columns.event_id)
    named = (version.watched_version_id, version.model, version.finding, version.version)
    promotions = (
        select(*named)
        .join(monitor_event, _IS_OF_VERSION)
        .where(columns.kind == PROMOTED)
        .group_by(*named)
        .order_by(last)
    )
    rows = connection.execute(promotions).all()
    serving = {row.model: row.version for row in rows}  # the last wins
    answering = {
        (row.model, row.finding): row.watched_version_id
        for row in rows
        if row.version == serving[row.model]
    }
    return {row.watched_version_id for row in rows} - set(answering.values())


def shadow_id(prediction_id: bytes) -> bytes:
    """Return the id of the shadow's answer to the same image; applied twice, it returns the
    answer's own id.

    >>> shadow_id(bytes(15) + b"\\x06")[-1], shadow_id(shadow_id(bytes(16))) == bytes(16)
    (7, True)
    """
    return prediction_id[:-1] + bytes([prediction_id[-1] ^ 1])


def note_shadow(connection: Connection, watched_version_id: int, *, now_ns: int) -> None:
    """Record once that this version computes as a shadow."""
    of_version = monitor_event.c.watched_version_id == watched_version_id
    known = exists().where(monitor_event.c.kind == SHADOWED, of_version)
    if not connection.scalar(select(known)):
        _note(connection, watched_version_id, SHADOWED, now_ns=now_ns)


def has_shadows(connection: Connection) -> bool:
    return bool(connection.scalar(select(exists().where(monitor_event.c.kind == SHADOWED))))


def promotions(connection: Connection, row: WatchedVersion) -> list[int]:
    """Return the versions of the model, or of the finding, in the order of their promotions."""
    promoted = select(watched_versions.c.version).join(monitor_event, _IS_OF_VERSION)
    of_row = promoted.where(monitor_event.c.kind == PROMOTED).filter_by(
        model=row.model, finding=row.finding
    )
    order = (monitor_event.c.at_ns, monitor_event.c.event_id)
    return list(connection.scalars(of_row.order_by(*order)))


def _last_promoted(
    connection: Connection, model: str, column: Any, *only: ColumnElement[bool]
) -> int | None:
    """Return a column of the model's row that was promoted last, of `only` these rows."""
    promotions = (
        select(column)
        .select_from(watched_versions)
        .join(monitor_event, _IS_OF_VERSION)
        .where(watched_versions.c.model == model, *only, monitor_event.c.kind == PROMOTED)
        .order_by(monitor_event.c.event_id.desc())
    )
    promoted: int | None = connection.scalar(promotions.limit(1))
    return promoted


def _note(
    connection: Connection,
    watched_version_id: int,
    kind: str,
    *,
    now_ns: int,
    detail: dict[str, Any] | None = None,
    feedback_id: int = 0,
) -> None:
    event = {"watched_version_id": watched_version_id, "kind": kind, "feedback_id": feedback_id}
    written = json.dumps(detail or {})
    connection.execute(insert(monitor_event).values(event | {"at_ns": now_ns, "detail": written}))
