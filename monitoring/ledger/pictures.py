"""Pictures of answers, for those who label them: only where a server is set to keep them, for a
time and up to a size.

A picture is what the model saw, its input as PNG, without the file's metadata. It belongs to an
answer in the ledger: it is kept only if that is there, and goes with it (erasure, pruning).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from monitoring.ledger.predictions import ids_of_images
from monitoring.ledger.schema import picture, prediction

_PORTION: Final = 200  # pictures that are deleted at a time to make room


class Picture(NamedTuple):
    """The picture of an answer."""

    prediction_id: bytes
    png: bytes


def keep_pictures(
    connection: Connection, found: Sequence[Picture], *, expires_at_ns: int, limit_bytes: int
) -> int:
    """Keep the pictures of those answers that are in the ledger; return of how many.

    The oldest make room if all together are larger than `limit_bytes`. The answers are locked, so
    that an erasure at the same time waits and takes the pictures, too.
    """
    ids = ids_of_images(connection, (each.prediction_id for each in found))
    there = select(prediction.c.prediction_id).where(prediction.c.prediction_id.in_(ids))
    locked = connection.scalars(there.with_for_update(read=True, key_share=True))
    known = {ids[row_id] for row_id in locked}
    rows = [
        {
            "prediction_id": each.prediction_id,
            "expires_at_ns": expires_at_ns,
            "size_bytes": len(each.png),
            "png": each.png,
        }
        for each in found
        if each.prediction_id in known
    ]
    if rows:
        connection.execute(insert(picture), rows)
    _make_room(connection, limit_bytes)
    return len(rows)


def read_picture(connection: Connection, prediction_id: bytes) -> bytes | None:
    found: bytes | None = connection.scalar(
        select(picture.c.png).where(picture.c.prediction_id == prediction_id)
    )
    return found


def drop_expired(connection: Connection, *, now_ns: int) -> int:
    return connection.execute(delete(picture).where(picture.c.expires_at_ns <= now_ns)).rowcount


def drop_pictures(connection: Connection, ids: Sequence[bytes]) -> int:
    """Delete the pictures of these answers, after the answers themselves; return how many."""
    return connection.execute(delete(picture).where(picture.c.prediction_id.in_(ids))).rowcount


def _make_room(connection: Connection, limit_bytes: int) -> None:
    held: int = connection.scalar(select(func.coalesce(func.sum(picture.c.size_bytes), 0))) or 0
    while held > limit_bytes:
        oldest = connection.execute(
            select(picture.c.prediction_id, picture.c.size_bytes)
            .order_by(picture.c.expires_at_ns, picture.c.prediction_id)
            .limit(_PORTION)
        ).all()
        gone = []
        for prediction_id, size_bytes in oldest:
            if held <= limit_bytes:
                break
            gone.append(prediction_id)
            held -= size_bytes
        drop_pictures(connection, gone)
