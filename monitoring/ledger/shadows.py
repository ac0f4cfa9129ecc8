"""A shadow's answer to an image that another version answered: an id of its own that follows from the other's.

Nobody is told of a shadow's answer, so no label could name it. Its id differs from the answer's in the last bit, which
is random in a UUIDv7, so that a label of the one finds the other. `shadowed` events say of a ledger that it has any.
"""

from sqlalchemy import Connection, exists, insert, select

from monitoring.ledger.schema import monitor_event

SHADOWED = "shadowed"


def shadow_id(prediction_id: bytes) -> bytes:
    """The id of a shadow's answer to the same image; the shadow id of a shadow_id is the answer itself.

    >>> shadow_id(bytes(15) + b"\\x06")[-1], shadow_id(shadow_id(bytes(16))) == bytes(16)
    (7, True)
    """
    return prediction_id[:-1] + bytes([prediction_id[-1] ^ 1])


def note_shadow(connection: Connection, calibration_id: int, *, now_ns: int) -> None:
    """Keep in the history that this calibration computes in the shadow, unless that is known."""
    values = {"calibration_id": calibration_id, "kind": SHADOWED, "at_ns": now_ns, "detail": "{}"}
    known = exists().where(monitor_event.c.kind == SHADOWED, monitor_event.c.calibration_id == calibration_id)
    if not connection.scalar(select(known)):
        connection.execute(insert(monitor_event).values(values))


def has_shadows(connection: Connection) -> bool:
    """Whether any version has ever computed in the shadow."""
    return bool(connection.scalar(select(exists().where(monitor_event.c.kind == SHADOWED))))
