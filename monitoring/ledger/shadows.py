"""Ids of shadow answers: the answer that a shadow version computes beside the one that is sent.

A client never sees a shadow's answer, so no label can name it. Its id differs from the id of the
sent answer in the last bit, which is random in a UUIDv7. So a label of the sent answer also finds
the shadow's. An event `shadowed` marks that a ledger has such answers.
"""

from sqlalchemy import Connection, exists, insert, select

from monitoring.ledger.schema import monitor_event

SHADOWED = "shadowed"


def shadow_id(prediction_id: bytes) -> bytes:
    """Return the id of the shadow's answer to the same image; applied twice, it returns the
    answer's own id.

    >>> shadow_id(bytes(15) + b"\\x06")[-1], shadow_id(shadow_id(bytes(16))) == bytes(16)
    (7, True)
    """
    return prediction_id[:-1] + bytes([prediction_id[-1] ^ 1])


def note_shadow(connection: Connection, calibration_id: int, *, now_ns: int) -> None:
    """Record once that this calibration computes as a shadow."""
    values = {"calibration_id": calibration_id, "kind": SHADOWED, "at_ns": now_ns, "detail": "{}"}
    known = exists().where(
        monitor_event.c.kind == SHADOWED, monitor_event.c.calibration_id == calibration_id
    )
    if not connection.scalar(select(known)):
        connection.execute(insert(monitor_event).values(values))


def has_shadows(connection: Connection) -> bool:
    """Return whether any version has ever computed as a shadow."""
    return bool(connection.scalar(select(exists().where(monitor_event.c.kind == SHADOWED))))
