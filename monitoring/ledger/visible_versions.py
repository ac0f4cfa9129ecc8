"""The versions that metrics show: those whose labels may still arrive, up to a limit.

A version is visible if a server loaded it, or it answered, in the last 90 days. Answers count
because a server that has been up for a year serves a version that was registered a year ago.
"""

from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from monitoring.ledger.calibrations import PROMOTED
from monitoring.ledger.schema import bin_day, calibration, monitor_event
from monitoring.ledger.slices import EVERYTHING
from monitoring.ledger.sums import DAY_NS

VISIBLE_NS = 90 * DAY_NS
VISIBLE_VERSIONS = 20  # per model; this bounds the number of series


class VisibleVersion(NamedTuple):
    """A calibration without its card."""

    calibration_id: int
    model: str
    version: str


def visible_versions(connection: Connection, *, now_ns: int) -> list[VisibleVersion]:
    """Return the last registered versions of each model, oldest first, each with its last
    registered card.
    """
    columns = calibration.c
    wanted = select(columns.calibration_id, columns.model, columns.version).where(visible(now_ns))
    newest_first = wanted.order_by(columns.registered_at_ns.desc(), columns.calibration_id.desc())
    found: dict[str, dict[int, VisibleVersion]] = {}
    for calibration_id, model, version in connection.execute(newest_first):
        versions = found.setdefault(model, {})
        if version not in versions and len(versions) < VISIBLE_VERSIONS:
            versions[version] = VisibleVersion(calibration_id, model, str(version))
    return [each for model in sorted(found) for each in reversed(found[model].values())]


def visible(now_ns: int) -> ColumnElement[bool]:
    """Return the condition: registered, or answering, within `VISIBLE_NS` before now."""
    return in_use_since(now_ns - VISIBLE_NS)


def versions_since(connection: Connection, model: str, since_ns: int) -> set[int]:
    """Return the versions of a model that were registered, or have answered, since a time."""
    wanted = select(calibration.c.version).where(
        calibration.c.model == model, in_use_since(since_ns)
    )
    return set(connection.scalars(wanted))


def in_use_since(since_ns: int) -> ColumnElement[bool]:
    """Return the condition: registered, or answering, since a time; days count whole."""
    columns = bin_day.c
    answered = exists().where(
        columns.calibration_id == calibration.c.calibration_id,
        columns.slice == EVERYTHING,
        columns.day >= since_ns // DAY_NS,
        columns.served > 0,
    )
    return or_(calibration.c.registered_at_ns >= since_ns, answered)


def superseded(connection: Connection) -> set[int]:
    """Return the calibrations that another one of their model has replaced in production."""
    columns = monitor_event.c
    last = func.max(columns.event_id)
    promotions = (
        select(columns.calibration_id, calibration.c.model, last)
        .join(calibration, calibration.c.calibration_id == columns.calibration_id)
        .where(columns.kind == PROMOTED)
        .group_by(columns.calibration_id, calibration.c.model)
        .order_by(last)
    )
    rows = connection.execute(promotions).all()
    serving = {model: calibration_id for calibration_id, model, _ in rows}
    return {calibration_id for calibration_id, model, _ in rows if serving[model] != calibration_id}
