"""Served answers: writing them, and how far they have been pruned.

A model with findings has one row of an image for each, of its watched version of that finding. The
ids of these rows differ from the image's id, which the client knows, in the last four bytes, which
are random in a UUIDv7: a hash of the finding's name changes them. So the image's id and a name give
a row's id, and a row's id and its finding give the image's. A shadow's id differs in the last bit
(version_events.py); both changes can be made in either order.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, select

from monitoring.ledger.database import in_lists, inserting, replacing
from monitoring.ledger.schema import prediction, watched_versions, watermark
from monitoring.ledger.watched_version import PRESENT, WatchedVersion


class PredictionRow(NamedTuple):
    """One served answer, in the order of the table's columns; it has no label yet.

    `prediction_id`: 16 bytes of a UUIDv7. `predicted`: index into the card's classes, of a finding
    always "present". `confidence`: the probability of `predicted`, in [0, 1]. `probabilities`: (K,)
    float32, little endian; empty if not known, and of a finding, whose confidence says both.
    `served_at_ns`: nanoseconds since 1970.
    `tags`: a canonical JSON object of strings. `audit`: the probability with which it was drawn for
    an audit, else None. `patient`: the keyed hash of the identifier (patient_id.py), None if
    unknown. `scope_p`: of the image's scope check, None if the graph has none.
    """

    prediction_id: bytes
    watched_version_id: int
    request_id: str | None
    predicted: int
    confidence: float
    probabilities: bytes
    served_at_ns: int
    tags: str | None = None
    audit: float | None = None
    patient: int | None = None
    scope_p: float | None = None


_OF_IMAGE = ("request_id", "predicted", "probabilities", "served_at_ns", "tags", "audit", "patient")
_FIELDS = PredictionRow._fields
_INSERT = inserting(prediction, columns=_FIELDS, often_same=(*_OF_IMAGE, "scope_p"))  # of findings


def append(connection: Connection, rows: Sequence[PredictionRow]) -> None:
    _INSERT.run(connection, rows)


def recorded(
    connection: Connection, watched_version_ids: Sequence[int], request_ids: Sequence[str]
) -> list[PredictionRow]:
    """Return a version's answers with these request ids, of each the newest 100 images."""
    limit = 100 * len(watched_version_ids)
    found: list[PredictionRow] = []
    for request_id in request_ids:
        wanted = select(*(prediction.c[name] for name in _FIELDS)).where(
            prediction.c.watched_version_id.in_(watched_version_ids),
            prediction.c.request_id == request_id,
        )
        newest = wanted.order_by(prediction.c.prediction_id.desc()).limit(limit)
        found += [PredictionRow._make(row) for row in connection.execute(newest)]
    return found


def absent(connection: Connection, rows: Sequence[PredictionRow]) -> list[PredictionRow]:
    """Return those of `rows` that are not in the ledger."""
    key = prediction.c.prediction_id
    present: set[bytes] = set()
    for portion in in_lists([row.prediction_id for row in rows]):
        present.update(connection.scalars(select(key).where(key.in_(portion))))
    return [row for row in rows if row.prediction_id not in present]


def time_of_id(prediction_id: bytes) -> int:
    """Return the time with which a UUIDv7 begins, in nanoseconds since 1970."""
    return int.from_bytes(prediction_id[:6], "big") * 1_000_000


def first_id(at_ns: int) -> bytes:
    """Return the smallest UUIDv7 of a time; an answer's id is at most a day from its serving."""
    return (max(at_ns, 0) // 1_000_000).to_bytes(6, "big") + bytes(10)


_PRUNED, _USED = "pruned", "used"
Work: TypeAlias = Literal["backup", "prune"]
_KEEP_WATERMARK = replacing(watermark)


def pruned_before_ns(connection: Connection) -> int:
    """Return nanoseconds since 1970, the start of a UTC day; 0 if nothing was ever pruned.

    Answers served earlier are deleted or about to be; their day sums remain.
    """
    return _read_watermark(connection, _PRUNED) or 0


def set_pruned_before(connection: Connection, at_ns: int) -> None:
    """Set it; from the commit on, labels of older answers are expired."""
    _KEEP_WATERMARK.run(connection, [(_PRUNED, at_ns)])


def used_ns(connection: Connection) -> int | None:
    """Return when the ledger was last in use, or else when its newest answer was served."""
    noted = _read_watermark(connection, _USED)
    if noted is not None:
        return noted
    key = prediction.c.prediction_id
    newest: bytes | None = connection.scalar(select(key).order_by(key.desc()).limit(1))
    return None if newest is None else time_of_id(newest)


def set_used(connection: Connection, at_ns: int) -> None:
    _KEEP_WATERMARK.run(connection, [(_USED, at_ns)])


def note_done(connection: Connection, work: Work, at_ns: int) -> None:
    _KEEP_WATERMARK.run(connection, [(f"{work} done", at_ns)])


def done_ns(connection: Connection, work: Work) -> int:
    """Return when that was last complete, in nanoseconds since 1970; 0 for never."""
    return _read_watermark(connection, f"{work} done") or 0


def _read_watermark(connection: Connection, name: str) -> int | None:
    return connection.scalar(select(watermark.c.at_ns).filter_by(name=name))


_CHANGED: Final = 4  # bytes
_SHARED: Final = _FIELDS.index("served_at_ns")  # and what follows


def finding_id(prediction_id: bytes, finding: str) -> bytes:
    """Return the id of the image's row for this finding; of that one, the image's id again.

    >>> finding_id(finding_id(bytes(16), "Edema"), "Edema") == bytes(16)
    True
    """
    end = _end(prediction_id) ^ _MASKS[finding]
    return prediction_id[:-_CHANGED] + end.to_bytes(_CHANGED, "big")


def presence_rows(
    image: PredictionRow, watched_version_ids: Mapping[str, int], probabilities: Sequence[float]
) -> list[PredictionRow]:
    """Return an image's rows, one for each finding: the claim that it is present.

    Args:
        image: its id, request id, time, tags, audit and patient; the rest is replaced.
        watched_version_ids: by finding, in the order of the probabilities.
        probabilities: of presence, (K,).
    """
    shared = image[_SHARED:]
    start, end = image.prediction_id[:-_CHANGED], _end(image.prediction_id)
    # By position, since `_replace` takes four times as long.
    return [
        PredictionRow._make(
            (
                start + (end ^ _MASKS[name]).to_bytes(_CHANGED, "big"),
                *(number, image.request_id, PRESENT, p, b""),
                *shared,
            )
        )
        for (name, number), p in zip(watched_version_ids.items(), probabilities, strict=True)
    ]


def by_image(
    rows: Iterable[PredictionRow], versions: Mapping[int, WatchedVersion]
) -> dict[bytes, list[PredictionRow]]:
    """Return rows by the id of their image, in the order of the watched versions."""
    found: dict[bytes, list[PredictionRow]] = {}
    for row in sorted(rows, key=lambda row: row.watched_version_id):
        image_id = finding_id(row.prediction_id, versions[row.watched_version_id].finding)
        found.setdefault(image_id, []).append(row)
    return found


def ids_of_images(connection: Connection, image_ids: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return every id that a row of these images may have, each with its image's."""
    findings = connection.scalars(select(watched_versions.c.finding).distinct()).all()
    return {
        finding_id(image_id, finding): image_id
        for image_id in image_ids
        for finding in {"", *findings}
    }


def _end(prediction_id: bytes) -> int:
    return int.from_bytes(prediction_id[-_CHANGED:], "big")


class _Masks(dict[str, int]):
    """What changes an id, by finding. The last bit stays: it tells a shadow's row."""

    def __missing__(self, finding: str) -> int:
        digest = blake2b(finding.encode(), digest_size=_CHANGED).digest()
        self[finding] = int.from_bytes(digest, "big") & ~1
        return self[finding]


_MASKS: Final = _Masks({"": 0})  # the row of exclusive classes has the image's id
