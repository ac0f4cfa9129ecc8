"""Reads a prediction request: its headers, query, and multipart forms."""

import io
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from hosting.caller import SMALLER
from hosting.errors import MalformedRequest, UnsupportedMedia
from model_store import tags
from model_store.errors import TagsInvalid
from model_store.image import FrameChoice, read_choice
from monitoring.errors import BodyTooLarge, brief
from monitoring.http.body_budget import IMAGE_COPIES, LIST_COPIES, check_encoding
from monitoring.http.fields import ID_LIMIT
from monitoring.patient_id import read_patient
from serving.inference.retries import IdempotencyKey

# A form that a client got wrong is answered, and is no error of the server's.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

FIELDS_LIMIT: Final = 100
# The default of `curl --data-binary @image.jpg`. The bytes themselves are checked later.
CURL_DEFAULT = "application/x-www-form-urlencoded"
LISTS = (
    "application/json",
    "application/x-ndjson",
    "multipart/form-data",
)  # bodies with several images
DICOM = ("application/dicom", "application/dicom+octet-stream")
EXACT = ("", "application/octet-stream", *LISTS, CURL_DEFAULT)
ACCEPTED = ("image/*", "application/dicom", "application/octet-stream", *LISTS, "or none")


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The headers that matter: media type (lower case, without parameters), raw Content-Type, the
    client's id.

    `canary`: whether the client asks for the canary (True), against it (False) or neither. `tags`:
    in the ledger's form; `patient` as sent. `deadline_s`: the longest wait in seconds that the
    client accepts. `length_bytes`: the declared length of the body, None if the client does not
    know it. `key`: the idempotency key. `attempt`:
    how often the client has sent it, this time included.
    """

    media_type: str
    content_type: bytes
    request_id: str | None
    canary: bool | None = None
    tags: str | None = None
    patient: str | None = None
    deadline_s: float | None = None
    length_bytes: int | None = None
    key: str | None = None
    attempt: int | None = None

    @property
    def once(self) -> IdempotencyKey | None:
        """Its key, fresh on the first attempt."""
        return None if self.key is None else IdempotencyKey(self.key, fresh=self.attempt == 1)

    @property
    def copies(self) -> int:
        """How often the body is in memory at most, which its hold must cover."""
        return LIST_COPIES if self.media_type in LISTS else IMAGE_COPIES


def read_head(headers: Iterable[tuple[bytes, bytes]], *, limit_bytes: int) -> RequestHead:
    """Check the headers before the body is read.

    Raises UnsupportedMedia, BodyCompressed, BodyTooLarge or MalformedRequest.
    """
    content_type, length_bytes = b"", None
    own: dict[str, Any] = {"request_id": None}
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            length_bytes = int(value)
        elif name == b"content-encoding":
            check_encoding(value.decode("latin-1"))
        elif name == b"x-request-id":
            own["request_id"] = request_id_of(value.decode("utf-8", errors="replace"))
        elif name in _OWN_HEADERS:
            field, read = _OWN_HEADERS[name]
            if own.get(field) is not None:
                raise MalformedRequest(
                    f"the header {name.decode().title()} is given more than once; send it once."
                )
            own[field] = read(value.decode("utf-8", errors="replace"))
    media_type = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    if not _acceptable(media_type):
        raise UnsupportedMedia(
            f"the content type is {media_type[:100]!r}; send {', '.join(ACCEPTED)}."
        )
    if length_bytes is not None and length_bytes > limit_bytes:
        raise BodyTooLarge(limit_bytes=limit_bytes, got_bytes=length_bytes, advice=SMALLER)
    return RequestHead(media_type, content_type, length_bytes=length_bytes, **own)


@dataclass(frozen=True, slots=True)
class PredictionQuery:
    """A class or finding to explain (`AnswerKind.column_of`), and frames in place of the card's."""

    explain: str | None = None
    frame: FrameChoice | None = None


NOTHING: Final = PredictionQuery()


def read_query(query: bytes) -> PredictionQuery:
    """What the query asks for. Raises MalformedRequest for anything unknown."""
    if not query:
        return NOTHING
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    values = dict(given)
    if len(values) != len(given):
        twice = next(name for name in values if sum(name == other for other, _ in given) > 1)
        one = " One request answers one frame, or all of them." if twice == "frame" else ""
        raise MalformedRequest(f"the query gives {brief(twice)} more than once; give it once.{one}")
    if not values.keys() <= {"explain", "frame"} or not values:
        raise MalformedRequest(
            "the query must be ?explain=occlusion, or a class or finding, ?frame=N, middle or all, "
            "or both."
        )
    asked = PredictionQuery(values.get("explain"), read_frame(values.get("frame")))
    if asked.explain is not None and asked.frame == "all":
        raise MalformedRequest(
            "a heat map explains one frame; choose it by its number, or leave explain out."
        )
    return asked


def read_frame(text: str | None) -> FrameChoice | None:
    """The frame that a client chooses, None for none. Raises MalformedRequest."""
    if text is None:
        return None
    try:
        return read_choice(text)
    except ValueError as error:
        raise MalformedRequest(f"frame: {error}.") from None


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form: its name if it has one, its bytes, and the form's tags and patient."""

    name: str | None
    data: bytes
    tags: str | None = None
    patient: str | None = None


def form_files(body: bytes, content_type: bytes, *, limit: int) -> list[FormFile]:
    """The files of a multipart/form-data body, in order, with what its fields `tags` and `patient`
    say. Raises MalformedRequest.

    Stops at the first file over `limit`, or field over FIELDS_LIMIT.
    """
    files, fields = read_form(body, content_type, limit=limit)
    tags, patient = read_tags(fields.get("tags", "")), patient_of(fields.get("patient"))
    return [replace(file, tags=tags, patient=patient) for file in files]


def read_form(
    body: bytes, content_type: bytes, *, limit: int
) -> tuple[list[FormFile], dict[str, str]]:
    """Files and fields of a multipart/form-data body. Raises as `form_files`."""
    _, options = parse_options_header(content_type)
    files: list[FormFile] = []
    fields: dict[str, str] = {}
    count = 0

    def note(field: Field) -> None:
        nonlocal count
        count += 1
        if count > FIELDS_LIMIT:
            raise MalformedRequest(f"the form has over {FIELDS_LIMIT} fields beside its files.")
        name = (field.field_name or b"").decode("utf-8", errors="replace")
        if name in fields:
            raise MalformedRequest(f"the form gives {brief(name)} more than once; give it once.")
        fields[name] = (field.value or b"").decode("utf-8", errors="replace")

    def keep(file: File) -> None:
        if len(files) >= limit:
            raise MalformedRequest(
                f"the form holds over {limit} files; send 1 to {limit} images in one request."
            )
        name = file.file_name.decode("utf-8", errors="replace") if file.file_name else None
        files.append(
            FormFile(name, cast(io.BytesIO, file.file_object).getvalue())
        )  # the buffer itself

    try:
        parser = FormParser(
            "multipart/form-data",
            note,
            keep,
            boundary=options.get(b"boundary"),
            # The body is already in memory and limited, so a copy on disk would be useless.
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},
        )
        try:
            parser.write(body)
            parser.finalize()
        finally:
            # Its callbacks hold it and its files: a cycle, which would keep them in memory.
            vars(parser).clear()
    except FormParserError as error:
        why = str(error).rstrip(".")
        raise MalformedRequest(
            f"the multipart body cannot be read ({why}); let an HTTP library write it."
        ) from error
    return files, fields


def request_id_of(value: object) -> str | None:
    """The client's own id; None for none or an empty one. Raises MalformedRequest."""
    if value is None or value == "":
        return None
    if (
        not isinstance(value, str)
        or len(value) > ID_LIMIT
        or not value.isprintable()
        or "\ufffd" in value
    ):
        raise MalformedRequest(
            f"A request id or idempotency key must be a string of at most {ID_LIMIT} printable "
            "characters in UTF-8."
        )
    return value


def read_tags(text: str) -> str | None:
    """Tags from text such as `site=A,device=CT-2`. Raises MalformedRequest."""
    try:
        return tags.read_tags(text)
    except TagsInvalid as error:
        raise MalformedRequest(str(error)) from None


def tags_of(value: object) -> str | None:
    """Tags from the object in a JSON item; None if there are none. Raises MalformedRequest."""
    try:
        return tags.tags_of(value)
    except TagsInvalid as error:
        raise MalformedRequest(str(error)) from None


def patient_of(text: str | None) -> str | None:
    """The identifier of a patient; None for none. Raises MalformedRequest."""
    try:
        return read_patient(text)
    except ValueError as error:
        raise MalformedRequest(str(error)) from None


def _yes_or_no(text: str) -> bool:
    choice = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if choice is None:
        raise MalformedRequest("X-Candor-Canary must be true or false.")
    return choice


def _attempt(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 5 and int(text)):
        raise MalformedRequest("X-Candor-Attempt must be a number from 1 on.")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise MalformedRequest(
            "X-Candor-Deadline-S must be a number of seconds over 0, such as 0.5."
        )
    return seconds


# A field of RequestHead, and how its header is read.
_OWN_HEADERS: Final[dict[bytes, tuple[str, Callable[[str], Any]]]] = {
    b"idempotency-key": ("key", request_id_of),
    b"x-candor-attempt": ("attempt", _attempt),
    b"x-candor-canary": ("canary", _yes_or_no),
    b"x-candor-tags": ("tags", read_tags),
    b"x-candor-patient": ("patient", patient_of),
    b"x-candor-deadline-s": ("deadline_s", _seconds),
}


def _acceptable(media_type: str) -> bool:
    return media_type in EXACT or media_type.startswith("image/") or media_type in DICOM
