"""How far a ledger has been pruned: answers served earlier are deleted or about to be; their day sums remain."""

from sqlalchemy import Connection, select

from monitoring.ledger.schema import watermark
from monitoring.ledger.statement import replacing

_PRUNED = "pruned"
_KEEP = replacing(watermark)


def pruned_before_ns(connection: Connection) -> int:
    """Return nanoseconds since 1970, the start of a UTC day; 0 if nothing was ever pruned."""
    return connection.scalar(select(watermark.c.at_ns).filter_by(name=_PRUNED)) or 0


def set_pruned_before(connection: Connection, at_ns: int) -> None:
    """Set it; from the commit on, labels of older answers are expired."""
    _KEEP.run(connection, [(_PRUNED, at_ns)])
