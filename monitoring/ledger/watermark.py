"""Two times of a whole ledger: how far it has been pruned, and when it was last in use."""

from sqlalchemy import Connection, select

from monitoring.ledger.schema import prediction, watermark
from monitoring.ledger.statement import replacing

_PRUNED, _USED = "pruned", "used"
_KEEP = replacing(watermark)


def pruned_before_ns(connection: Connection) -> int:
    """Return nanoseconds since 1970, the start of a UTC day; 0 if nothing was ever pruned.

    Answers served earlier are deleted or about to be; their day sums remain.
    """
    return _read(connection, _PRUNED) or 0


def set_pruned_before(connection: Connection, at_ns: int) -> None:
    """Set it; from the commit on, labels of older answers are expired."""
    _KEEP.run(connection, [(_PRUNED, at_ns)])


def used_ns(connection: Connection) -> int | None:
    """Return when the ledger was last noted to be in use, else when its newest answer was served,
    if it has one.
    """
    noted = _read(connection, _USED)
    if noted is not None:
        return noted
    key = prediction.c.prediction_id
    newest: bytes | None = connection.scalar(select(key).order_by(key.desc()).limit(1))
    return (
        None if newest is None else int.from_bytes(newest[:6], "big") * 1_000_000
    )  # a UUIDv7 starts with the time


def set_used(connection: Connection, at_ns: int) -> None:
    """Note that the ledger is in use."""
    _KEEP.run(connection, [(_USED, at_ns)])


def _read(connection: Connection, name: str) -> int | None:
    return connection.scalar(select(watermark.c.at_ns).filter_by(name=name))
