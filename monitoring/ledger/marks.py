"""Marks of versions: two readings with one mark found the same, but for the time that passed."""

from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import Connection, Select, func, select

from monitoring.ledger.schema import (
    EVERYTHING,
    IS_LABELED,
    bin_total,
    monitor_event,
    monitor_state,
    prediction,
    watched_versions,
)
from monitoring.ledger.sum_tables import added

Mark: TypeAlias = tuple[Any, ...]
_SUMS = ("n", "correct", "confidence", "served", "served_confidence")


def read_marks(connection: Connection) -> dict[str, tuple[Mark, ...]]:
    """The marks of each model's versions, by model, in one query.

    A mark is of what reports rest on: answers and labels, the last label (a correction is one), the
    first that pruning has left, the watched tags, and the last event, such as an acknowledgment.
    """
    found: dict[str, tuple[Mark, ...]] = {}
    for model, *mark in connection.execute(_marks()):
        found[model] = (*found.get(model, ()), tuple(mark))
    return found


@cache
def _marks() -> Select[Any]:
    """The query, which is asked often, and built once."""
    version, everything = watched_versions.c, {"slice": EVERYTHING}
    key = version.watched_version_id
    state, events = monitor_state.c, monitor_event.c
    parts = (
        *(select(added(bin_total.c[name])).filter_by(**everything) for name in _SUMS),
        *(select(each).filter_by(**everything) for each in (state.last_feedback_id, state.tags)),
        select(func.min(prediction.c.first_feedback_id)).where(IS_LABELED),
        select(func.max(events.event_id)),
    )
    of_version = [
        each.where(each.get_final_froms()[0].c.watched_version_id == key)
        .correlate(watched_versions)
        .scalar_subquery()
        for each in parts
    ]
    own = (version.model, key, version.registered_at_ns)
    return select(*own, *of_version).order_by(version.model, key)
