"""A request's id and frame, and the answer for an image, as serving/inference/answer.py's."""

import os
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model_store.errors import ModelStoreError

ID_CHARACTERS = 200


class RequestIdInvalid(ModelStoreError):
    """The client's id of an image cannot be kept."""

    def __init__(self) -> None:
        super().__init__(
            f"X-Request-Id must be a string of at most {ID_CHARACTERS} printable characters in "
            "UTF-8."
        )


class FrameInvalid(ModelStoreError):
    """The query chooses no frame."""


class Input(NamedTuple):
    """One image, (C, H, W), with its id, and the number of its frame if the request chooses any."""

    request_id: str | None
    pixels: npt.NDArray[np.uint8]
    frame: int | None = None


def request_id_of(value: str | None) -> str | None:
    """Return the client's own id; None for none, and for an empty one. Raises RequestIdInvalid."""
    if not value:
        return None
    if len(value) > ID_CHARACTERS or not value.isprintable() or "\ufffd" in value:
        raise RequestIdInvalid
    return value


def answer_of(
    card: Mapping[str, Any], probabilities: npt.NDArray[np.float32], *, request_id: str | None
) -> dict[str, Any]:
    """Return the answer of a card's model for one image.

    Args:
        card: the parsed card.json.
        probabilities: (K,) float32, finite.
        request_id: the client's id of the image, or None.
    """
    classes, best = card["classes"], int(probabilities.argmax())
    confidence = float(probabilities[best])
    referral, sets = card.get("referral"), card.get("conformal")
    named = {name: float(value) for name, value in zip(classes, probabilities, strict=True)}
    answer = {
        "prediction_id": str(uuid7()),
        "request_id": request_id,
        "model": card["name"],
        "version": card["version"],
        "predicted": classes[best],
        "confidence": confidence,
        "probabilities": named,
        "refer": None if referral is None else confidence < referral["threshold"],
    }
    if sets is not None:
        answer["prediction_set"] = [
            name for name, value in named.items() if value >= sets["threshold"]
        ]
    return answer


def logged(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer as a row of POST /predictions-log, and of `candor predictions`."""
    return {
        name: answer[name]
        for name in ("model", "version", "prediction_id", "request_id", "probabilities")
    }


def uuid7() -> uuid.UUID:
    """Return a UUIDv7 of now (RFC 9562): 48 bits of milliseconds, then random ones.

    >>> uuid7().version, uuid7() != uuid7()
    (7, True)
    """
    milliseconds = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    random = bytearray(os.urandom(10))
    random[0] = 0x70 | random[0] & 0x0F
    random[2] = 0x80 | random[2] & 0x3F
    return uuid.UUID(bytes=milliseconds + bytes(random))
