"""Several images in one request, as a JSON array, NDJSON or a form of files, and their answers in the same format.

Items are independent: an item that is not an image gets an error, and the others get answers.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from monitoring.api.endpoint import JSON
from monitoring.api.sentences import explain
from serving.error_table import error_answer
from serving.errors import MalformedRequest
from serving.http.bodies import EncodedImage
from serving.http.request import RequestHead, form_files, request_id_of
from serving.http.tags import tags_of

NDJSON = "application/x-ndjson"
SHAPE = 'a base64 string, or an object {"image": base64, "request_id": your own id, "tags": object of strings}'

Entry: TypeAlias = str | EncodedImage | MalformedRequest
_FIELDS: Final = EncodedImage.__struct_fields__
_ARRAY: Final = msgspec.json.Decoder(list[str | EncodedImage])


@dataclass(frozen=True, slots=True)
class ImageItem:
    """One encoded image of a request, or the error in its place. `name` is the file name in a form."""

    data: bytes | MalformedRequest
    request_id: str | None = None
    name: str | None = None
    tags: str | None = None


def read_items(body: bytes, head: RequestHead, *, limit: int) -> list[ImageItem] | None:
    """The items of a body with a list, at most `limit`; None if the body is a single image.

    Raises MalformedRequest if the list itself cannot be read.
    """
    if head.media_type == "multipart/form-data":
        items = [
            ImageItem(file.data, head.request_id, file.name, file.tags or head.tags)
            for file in form_files(body, head.content_type)
        ]
    elif head.media_type == JSON:
        items = [_item(value) for value in _array(body)]
    elif head.media_type == NDJSON:
        items = [_line(line) for line in body.splitlines() if line.strip()]
    else:
        return None
    if not 1 <= len(items) <= limit:
        raise MalformedRequest(f"the body holds {len(items)} images; send 1 to {limit} in one request.")
    return items


def is_single(items: Sequence[ImageItem]) -> bool:
    """Whether this is a form with one file, as `curl -F` sends it. It is answered like a single image."""
    return len(items) == 1 and items[0].name is not None


def sole_image(items: Sequence[ImageItem]) -> bytes:
    """The bytes of the only item. Raises the error in its place."""
    data = items[0].data
    if isinstance(data, Exception):
        raise data
    return data


def write_answers(answers: Sequence[bytes | Exception], items: Sequence[ImageItem], *, media_type: str) -> bytes:
    """The answers in the order of the items, including errors: a JSON array, or NDJSON."""
    parts = [_named(_body(answer), item.name) for answer, item in zip(answers, items, strict=True)]
    return b"\n".join(parts) + b"\n" if media_type == NDJSON else b"[" + b",".join(parts) + b"]"


def _array(body: bytes) -> Iterable[Entry]:
    with suppress(msgspec.MsgspecError, ValueError, RecursionError):
        return _ARRAY.decode(body)
    try:
        values = json.loads(body)  # which is more lenient, and spares the good entries
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not JSON ({error}); send an array, each entry {SHAPE}.") from None
    if not isinstance(values, list):
        raise MalformedRequest(f"the body is a JSON {type(values).__name__}; send an array, each entry {SHAPE}.")
    return [_entry(value) for value in values]


def _line(line: bytes) -> ImageItem:
    try:
        return _item(_entry(json.loads(line)))
    except (ValueError, RecursionError):
        return ImageItem(MalformedRequest(f"the line is not JSON; send {SHAPE}."))


def _entry(value: Any) -> Entry:
    # Other fields are ignored, also those whose names msgspec cannot take.
    known = {name: value[name] for name in _FIELDS if name in value} if isinstance(value, dict) else value
    try:
        return msgspec.convert(known, str | EncodedImage)
    except msgspec.ValidationError as error:
        return MalformedRequest(f"{explain(error, value, whole='An entry')} Send {SHAPE}.")
    except UnicodeEncodeError:
        return MalformedRequest(f"An entry holds text with lone surrogates. Send {SHAPE}.")


def _item(entry: Entry) -> ImageItem:
    if isinstance(entry, MalformedRequest):
        return ImageItem(entry)
    read = EncodedImage(entry) if isinstance(entry, str) else entry
    try:
        request_id = request_id_of(read.request_id)
        return ImageItem(base64.b64decode(read.image, validate=True), request_id, tags=tags_of(read.tags))
    except (binascii.Error, ValueError) as error:
        wrong = error if isinstance(error, MalformedRequest) else MalformedRequest(f"not base64: {error}.")
        return ImageItem(wrong)


def _body(answer: bytes | Exception) -> bytes:
    return error_answer(answer).body() if isinstance(answer, Exception) else answer


def _named(body: bytes, name: str | None) -> bytes:
    return body if name is None else b'{"file":' + json.dumps(name).encode() + b"," + body[1:]
