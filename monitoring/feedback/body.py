"""The body of POST /feedback: JSON to items, each field checked by hand with a sentence of its own.
 Refused: what is not JSON, wrong types (NaN for a label is one), unknown fields, ids over 200 characters,
text that no database can store, lists over 10,000 items.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from monitoring.errors import BodyMalformed, FeedbackInvalid, brief
from monitoring.feedback.items import ID_LIMIT, FeedbackItem, FeedbackResult, FeedbackStatus, Reason

LIST_LIMIT = 10_000
FIELDS = frozenset(FeedbackItem._fields) - {"observed_at_ns"} | {"observed_at"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Value = TypeVar("_Value")


def read_json(body: bytes) -> Any:
    """Parse a body. Raises BodyMalformed for what is not JSON, also for JSON too deep or too long to read."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        what = "nothing" if not body else f"something else ({brief(str(error))})"
        raise BodyMalformed(f"The body must be JSON; got {what}.") from error


def read_items(body: Any) -> list[FeedbackItem | FeedbackResult]:
    """The items of a parsed body, an invalid one as the result that rejects it.

    Raises FeedbackInvalid when the body is neither an object nor a list of at most 10,000 of them.
    """
    if isinstance(body, dict):
        return [item_or_rejection(body)]
    if not isinstance(body, list) or not body:
        raise FeedbackInvalid(f"Feedback is one object or a list of objects; got {kind_of(body)}.")
    if len(body) > LIST_LIMIT:
        raise FeedbackInvalid(f"A list holds at most {LIST_LIMIT:,} items; got {len(body):,}. Send several lists.")
    return [item_or_rejection(entry) for entry in body]


def read_item(entry: Any) -> FeedbackItem:
    """One item from its JSON. Raises FeedbackInvalid."""
    if not isinstance(entry, dict):
        raise FeedbackInvalid(f"An item is an object; got {kind_of(entry)}.")
    for name in entry.keys() - FIELDS:
        raise FeedbackInvalid(f"Field {brief(name)} is unknown; expected some of: {', '.join(sorted(FIELDS))}.")
    if entry.get("label") is None:
        raise FeedbackInvalid("Field 'label' is missing; give the name of the true class.")
    item = FeedbackItem(
        label=_read(entry, "label", read_text) or "",
        prediction_id=_read(entry, "prediction_id", read_uuid),
        model=_read(entry, "model", read_text),
        request_id=_read(entry, "request_id", read_text),
        source=_read(entry, "source", read_text),
        observed_at_ns=_read(entry, "observed_at", read_time_ns),
    )
    by_prediction = item.prediction_id is not None and item.model is None and item.request_id is None
    by_request = item.prediction_id is None and item.model is not None and item.request_id is not None
    if not (by_prediction or by_request):
        raise FeedbackInvalid("Name the answer by 'prediction_id' alone, or by 'model' and 'request_id'.")
    return item


def item_or_rejection(entry: Any) -> FeedbackItem | FeedbackResult:
    """One item from its JSON, or the result that rejects it."""
    try:
        return read_item(entry)
    except FeedbackInvalid as error:
        return FeedbackResult(FeedbackStatus.REJECTED, reason=Reason.INVALID, detail=str(error))


def _read(entry: dict[str, Any], name: str, convert: Callable[[str, Any], _Value]) -> _Value | None:
    value = entry.get(name)
    return None if value is None else convert(name, value)


def read_text(name: str, value: Any) -> str:
    """Text of 1 to 200 characters that every database can store. Raises FeedbackInvalid."""
    if not isinstance(value, str):
        raise FeedbackInvalid(f"Field '{name}' must be text; got {kind_of(value)}.")
    if not value or len(value) > ID_LIMIT:
        raise FeedbackInvalid(f"Field '{name}' must have 1 to {ID_LIMIT} characters; got {len(value):,}.")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise FeedbackInvalid(f"Field '{name}' holds characters that are no text: {brief(value)}.")
    return value


def read_uuid(name: str, value: Any) -> bytes:
    """The 16 bytes of a UUID. Raises FeedbackInvalid."""
    text = read_text(name, value)
    try:
        return UUID(text).bytes
    except ValueError as error:
        raise FeedbackInvalid(f"Field '{name}' must be the UUID from an answer; got {brief(text)}.") from error


def read_time_ns(name: str, value: Any) -> int:
    """Nanoseconds since 1970 of an ISO 8601 time, UTC where it names no zone. Raises FeedbackInvalid."""
    text = read_text(name, value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise FeedbackInvalid(f"Field '{name}' must be an ISO 8601 time; got {brief(text)}.") from error
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    nanoseconds = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
    if not 0 <= nanoseconds < 2**63:
        raise FeedbackInvalid(f"Field '{name}' must be a time between 1970 and 2262; got {brief(text)}.")
    return nanoseconds


def kind_of(value: Any) -> str:
    """What a JSON value is, for an error's sentence."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number") if value != [] else "an empty list"
