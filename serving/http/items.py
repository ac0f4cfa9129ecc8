"""Several images in one request, as a JSON array, NDJSON or a form of files, and their answers in
the same format.

Items are independent: an item that is not an image gets an error, and the others get answers.
"""

import base64
import binascii
import io
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import numpy as np

from hosting.error_table import error_answer
from hosting.errors import MalformedRequest
from model_store.image import DecodedFrames, FrameChoice
from monitoring.errors import BodyNotJson, brief
from monitoring.http.endpoint import JSON
from monitoring.http.fields import ID_LIMIT
from monitoring.http.json_body import (
    SMALL_BYTES,
    begins_as_json,
    check_keys,
    key_given_twice,
    parse,
    said,
    too_many,
)
from serving.http.bodies import EncodedImage
from serving.http.request import RequestHead, form_files, patient_of, request_id_of, tags_of
from serving.inference.batcher import Image
from serving.inference.retries import IdempotencyKey

NDJSON = "application/x-ndjson"
SHAPE = (
    'a base64 string, or an object {"image": base64, "request_id": your own id, "tags": object of '
    'strings, "patient": its identifier}'
)

Entry: TypeAlias = str | EncodedImage | MalformedRequest
# What an image may bring with it, counted before anything is parsed. Unknown fields are ignored,
# but they cost time.
VALUES_PER_IMAGE: Final = 50
CONTAINERS_PER_IMAGE: Final = 8
LINES_PER_IMAGE: Final = 4
SPARE_VALUES: Final = 1000
ESCAPED_SHARE: Final = (
    16  # at most one escape in so many bytes; slashes, which some escape, are one in 64
)
SLICE_CHARACTERS: Final = (
    2**20
)  # of base64, a multiple of four; between two slices, other threads run
_Counted = TypeVar("_Counted")
_FIELDS: Final = EncodedImage.__struct_fields__
_ARRAY: Final = msgspec.json.Decoder(list[str | EncodedImage])


@dataclass(frozen=True, slots=True)
class ImageItem:
    """One image, encoded or (C, H, W) uint8, or its error. `name`: of the file in a form."""

    data: bytes | Image | MalformedRequest
    request_id: str | None = None
    name: str | None = None
    tags: str | None = None
    patient: str | None = None  # as the caller sent it
    key: IdempotencyKey | None = None

    @property
    def sound(self) -> bytes | Image:
        """The image. Raises the error in its place."""
        if isinstance(self.data, MalformedRequest):
            raise self.data
        return self.data

    @property
    def encoded(self) -> bytes:
        """The image, which must not be decoded yet. Raises the error in its place."""
        image = self.sound
        assert not isinstance(image, np.ndarray)
        return image


def read_items(body: bytes, head: RequestHead, *, limit: int) -> list[ImageItem]:
    """The items of a list, at most `limit`. Raises MalformedRequest if it cannot be read."""
    if head.media_type == "multipart/form-data":
        files = form_files(body, head.content_type, limit=limit)
        items = [
            ImageItem(file.data, head.request_id, file.name, file.tags, file.patient)
            for file in files
        ]
    elif head.media_type == JSON:
        items = [_item(value) for value in _counted(_array(body, limit), limit)]
    else:
        items = [_line(line) for line in _counted(_lines(body, limit), limit)]
    _counted(items, limit)
    return items if head.tags is head.patient is None else [_of_head(item, head) for item in items]


def with_keys(items: Sequence[ImageItem], key: IdempotencyKey | None) -> list[ImageItem]:
    """The items with the request's idempotency key, numbered; the request id of those without."""
    if key is None:
        return list(items)
    texts = [f"{key.text}/{number}" for number in range(len(items))]
    return [
        replace(item, key=key._replace(text=text), request_id=item.request_id or text)
        for item, text in zip(items, [key.text] if len(items) == 1 else texts, strict=True)
    ]


def _of_head(item: ImageItem, head: RequestHead) -> ImageItem:
    """The item, with what the headers say of all where it says nothing."""
    return replace(item, tags=item.tags or head.tags, patient=item.patient or head.patient)


def write_answers(
    answers: Sequence[bytes | Exception], items: Sequence[ImageItem], *, media_type: str
) -> bytes:
    """The answers in the order of the items, including errors: a JSON array, or NDJSON."""
    parts = [
        _with(_body(answer), file=item.name) for answer, item in zip(answers, items, strict=True)
    ]
    return b"\n".join(parts) + b"\n" if media_type == NDJSON else b"[" + b",".join(parts) + b"]"


def write_frames(
    answers: Sequence[bytes | Exception], numbers: Sequence[int], *, single: bool
) -> bytes:
    """The answers to the frames of one image, each with its number: a JSON array, or if `single`
    the only one.

    Raises the error in the place of the only one.
    """
    if single and isinstance(answers[0], Exception):
        raise answers[0]
    parts = [
        _with(_body(answer), frame=number) for answer, number in zip(answers, numbers, strict=True)
    ]
    return parts[0] if single else b"[" + b",".join(parts) + b"]"


def _counted(items: Sequence[_Counted], limit: int) -> Sequence[_Counted]:
    if not 1 <= len(items) <= limit:
        raise MalformedRequest(
            f"the body holds {len(items)} images; send 1 to {limit} in one request."
        )
    return items


def _count_values(body: bytes, limit: int) -> None:
    """Refuse a body that a parser would take minutes and gigabytes for, before it does."""
    if len(body) > SMALL_BYTES and not begins_as_json(body):
        raise MalformedRequest(
            f"the body is not JSON; send an image as it is, or entries, each {SHAPE}."
        )
    _count_escapes(body)
    values, containers = (
        each * limit + SPARE_VALUES for each in (VALUES_PER_IMAGE, CONTAINERS_PER_IMAGE)
    )
    if too_many(body, values=values, containers=containers):
        raise MalformedRequest(
            f"the body holds over {values:,} values, or {containers:,} lists and objects, or long "
            f"numbers; send 1 to {limit} images in one request."
        )


def _count_escapes(body: bytes) -> None:
    """Refuse escapes, which base64 never needs and which a parser reads one by one."""
    if body.count(b"\\") > len(body) // ESCAPED_SHARE + SPARE_VALUES:
        raise MalformedRequest(
            f"over one byte in {ESCAPED_SHARE} is an escape (\\); base64 needs none."
        )


def _array(body: bytes, limit: int) -> Sequence[Entry]:
    _count_values(body, limit)
    with suppress(msgspec.MsgspecError, ValueError, RecursionError):
        entries = _ARRAY.decode(body)
        if body.count(b":") != sum(map(_colons, entries)):
            check_keys(body)
        return entries
    try:
        values = parse(body)  # which is more lenient, and spares the good entries
    except BodyNotJson as error:
        raise MalformedRequest(f"{error} Send an array, each entry {SHAPE}.") from None
    if not isinstance(values, list):
        raise MalformedRequest(
            f"the body is a JSON {type(values).__name__}; send an array, each entry {SHAPE}."
        )
    return [_entry(value) for value in _counted(values, limit)]


def _colons(entry: str | EncodedImage) -> int:
    """The colons in the JSON of an entry that gives each key once, and null for none."""
    if isinstance(entry, str):
        return entry.count(":")
    tags = entry.tags or {}
    texts = (entry.image, entry.request_id, entry.patient, *tags, *tags.values())
    fields = 1 + sum(each is not None for each in (entry.request_id, entry.patient, entry.tags))
    return fields + len(tags) + sum(str(each).count(":") for each in texts if each is not None)


def _lines(body: bytes, limit: int) -> list[bytes]:
    _count_values(body, limit)
    lines = body.count(b"\n") + body.count(b"\r")
    if lines > LINES_PER_IMAGE * limit + SPARE_VALUES:
        raise MalformedRequest(
            f"the body has {lines:,} lines; send 1 to {limit} images in one request."
        )
    return [line for line in body.splitlines() if line.strip()]


def _line(line: bytes) -> ImageItem:
    try:
        return _item(_entry(parse(line)))
    except BodyNotJson:
        return ImageItem(MalformedRequest(f"the line is not JSON; send {SHAPE}."))


def _entry(value: Any) -> Entry:
    if (key := key_given_twice(value)) is not None:
        return MalformedRequest(f"An entry gives {brief(key)} twice; give it once.")
    # Other fields are ignored, also those whose names msgspec cannot take.
    known = (
        {name: value[name] for name in _FIELDS if name in value}
        if isinstance(value, dict)
        else value
    )
    try:
        return msgspec.convert(known, str | EncodedImage)
    except msgspec.ValidationError as error:
        return MalformedRequest(f"An entry cannot be read: {said(error)}. Send {SHAPE}.")
    except UnicodeEncodeError:
        return MalformedRequest(f"An entry holds text with lone surrogates. Send {SHAPE}.")


def _item(entry: Entry) -> ImageItem:
    if isinstance(entry, MalformedRequest):
        return ImageItem(entry)
    read = EncodedImage(entry) if isinstance(entry, str) else entry
    try:
        request_id = request_id_of(read.request_id)
        tags, patient = tags_of(read.tags), patient_of(read.patient)
        return ImageItem(decode_base64(read.image), request_id, tags=tags, patient=patient)
    except (binascii.Error, ValueError) as error:
        wrong = (
            error
            if isinstance(error, MalformedRequest)
            else MalformedRequest(f"not base64: {error}.")
        )
        return ImageItem(wrong)


def decode_base64(text: str) -> bytes:
    """The bytes of base64, in slices, between which other threads run. Raises ValueError."""
    decoded = io.BytesIO()
    for start in range(0, len(text), SLICE_CHARACTERS):
        part = text[start : start + SLICE_CHARACTERS]
        if "=" in part and start + SLICE_CHARACTERS < len(text):
            raise ValueError("Excess data after padding")
        decoded.write(base64.b64decode(part, validate=True))
    return decoded.getvalue()


def _body(answer: bytes | Exception) -> bytes:
    return error_answer(answer).body() if isinstance(answer, Exception) else answer


def _with(body: bytes, **fields: str | int | None) -> bytes:
    """A JSON object with fields before its own; without those that are None."""
    named = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(named).encode()[:-1] + b"," + body[1:] if named else body


def items_of(frames: DecodedFrames, item: ImageItem, frame: FrameChoice) -> list[ImageItem]:
    """An item for each frame of `item`, numbered with "all". Raises MalformedRequest."""
    ids = numbered(item.request_id, frames.numbers) if frame == "all" else [item.request_id]
    items = [
        ImageItem(pixels, request_id, tags=item.tags, patient=item.patient)
        for pixels, request_id in zip(frames.pixels, ids, strict=True)
    ]
    return with_keys(items, item.key)


def numbered(identity: str | None, numbers: Iterable[int]) -> list[str | None]:
    """The request ids of several images of the request `identity`.

    Raises MalformedRequest if they would be too long for a label to name them.

    >>> numbered("a", range(1, 3)), numbered(None, range(2))
    (['a/1', 'a/2'], [None, None])
    """
    ids = [f"{identity}/{number}" if identity else None for number in numbers]
    longest = len(ids[-1] or "")
    if identity and longest > ID_LIMIT:
        raise MalformedRequest(
            f"the id has {len(identity)} characters, {longest} with the number of an image; use "
            "at most "
            f"{ID_LIMIT - longest + len(identity)} for {len(ids)} images."
        )
    return ids
