"""Answers of findings: an image has one row for each, of the model's watched version of that
finding.

The ids of these rows differ from the image's id, which the client knows, in the last four bytes,
which are random in a UUIDv7: a hash of the finding's name changes them. So the image's id and a
name give a row's id, and a row's id and its finding give the image's. A shadow's id differs in the
last bit (version_events.py); both changes can be made in either order.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from sqlalchemy import Connection, select

from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.schema import watched_versions
from monitoring.ledger.watched_version import PRESENT, WatchedVersion

_CHANGED: Final = 4  # bytes
_SHARED: Final = PredictionRow._fields.index("served_at_ns")  # and what follows


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
