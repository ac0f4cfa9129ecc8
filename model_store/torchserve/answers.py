"""A request's id and frame, and the answer for an image, as serving/inference/answer.py's."""

import json
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.calibrators.finding_answers import FindingsCalibrator
from calibration.calibrators.subgroups import AnswerCalibrator
from calibration.scope.verdict import ALPHA, scope_of
from model_store.errors import ModelStoreError

ID_CHARACTERS = 200
By: TypeAlias = AnswerCalibrator | FindingsCalibrator


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
    """One image, (C, H, W), with its id and tags, and its frame's number if frames are chosen."""

    request_id: str | None
    pixels: npt.NDArray[np.uint8]
    tags: str | None = None
    frame: int | None = None


def request_id_of(value: str | None) -> str | None:
    """Return the client's own id; None for none, and for an empty one. Raises RequestIdInvalid."""
    if not value:
        return None
    if len(value) > ID_CHARACTERS or not value.isprintable() or "\ufffd" in value:
        raise RequestIdInvalid
    return value


def answer_of(
    card: Mapping[str, Any],
    graph: npt.NDArray[np.float32],
    by: By,
    *,
    request_id: str | None,
    scope_p: float | None = None,
    alpha: float = ALPHA,
) -> dict[str, Any]:
    """Return the answer of a card's model for one image: of exclusive classes, or of findings.

    `graph` are the finite probabilities (K,) in float32, and `by` is the calibrator for the image's
    tags. Images with a `scope_p` up to `alpha` are doubtful.
    """
    scope: dict[str, Any] = {}
    if scope_p is not None:
        word = scope_of(scope_p, card["scope"]["flagged"]["n"], alpha)
        scope = {"scope": word, "scope_p": scope_p}
    head: dict[str, Any] = {
        "prediction_id": str(uuid7()),
        "request_id": request_id,
        "model": card["name"],
        "version": card["version"],
    }
    return head | by.answer(card["classes"], by(graph).tolist()) | scope


def logged(answer: Mapping[str, Any], by: By, tags: str | None) -> dict[str, Any]:
    """Return an answer as a row of POST /predictions-log, and of `candor predictions`."""
    row = {name: answer[name] for name in ("model", "version", "prediction_id", "request_id")}
    row |= by.logged(answer)
    if "scope_p" in answer:
        row["scope_p"] = answer["scope_p"]
    return row if tags is None else row | {"tags": json.loads(tags)}


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


def declaration_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of POST /models-log for a parsed card.json."""
    return {"model": card["name"], "version": card["version"], "bundle_card": card}
