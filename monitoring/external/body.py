"""The body of POST /predictions-log: JSON or a table's row to items, each field checked with a sentence of its own.

The columns are those of `candor ledger export`: `predicted` is what the model said, `label` the truth. A CSV's cells
are text: numbers are read from it, `probabilities` and `tags` are JSON in their cells.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from monitoring.errors import FeedbackInvalid, PredictionInvalid, TagsInvalid, brief
from monitoring.external.declaration import CLASSES_LIMIT
from monitoring.external.items import Fault, LoggedItem, LoggedResult, LoggedStatus, Probabilities
from monitoring.feedback.body import LIST_LIMIT, kind_of, read_text, read_time_ns, read_uuid
from monitoring.tags import read_tags, tags_of

FIELDS = frozenset(LoggedItem._fields) - {"served_at_ns", "observed_at_ns"} | {"served_at", "observed_at"}
_DAY_NS = 86_400 * 10**9
_SUM_TOLERANCE = 0.01  # of probabilities that were rounded on their way


def read_entries(body: Any) -> list[Any]:
    """The entries of a parsed body: one object, or a list. Raises PredictionInvalid."""
    if isinstance(body, dict):
        return [body]
    if not isinstance(body, list) or not body:
        raise PredictionInvalid(f"Predictions are one object or a list of objects; got {kind_of(body)}.")
    if len(body) > LIST_LIMIT:
        raise PredictionInvalid(
            f"A list holds at most {LIST_LIMIT:,} items; got {len(body):,}. Send NDJSON or CSV, which may be longer."
        )
    return body


def item_or_rejection(entry: Any, defaults: Mapping[str, Any]) -> LoggedItem | LoggedResult:
    """One item, or the result that rejects it; `defaults` stand in for fields that it leaves out."""
    try:
        return read_logged({**defaults, **entry} if isinstance(entry, dict) else entry)
    except (PredictionInvalid, FeedbackInvalid, TagsInvalid) as error:
        return rejection(str(error))


def rejection(detail: str) -> LoggedResult:
    """The result of what cannot be read."""
    return LoggedResult(LoggedStatus.REJECTED, fault=Fault.INVALID, detail=detail)


def read_logged(entry: Any) -> LoggedItem:
    """One item from its JSON. Raises PredictionInvalid, FeedbackInvalid or TagsInvalid."""
    if not isinstance(entry, dict):
        raise PredictionInvalid(f"An item is an object; got {kind_of(entry)}.")
    for name in entry.keys() - FIELDS:
        raise PredictionInvalid(f"Field {brief(name)} is unknown; expected some of: {', '.join(sorted(FIELDS))}.")
    said = {name: value for name, value in entry.items() if value is not None}
    read: dict[str, Any] = {name: _READERS[name](name, value) for name, value in said.items()}
    for name in ("served_at", "observed_at"):
        if name in read:
            read[f"{name}_ns"] = read.pop(name)
    item = LoggedItem(**({"model": ""} | read))
    _require(item)
    return item


def _require(item: LoggedItem) -> None:
    if not item.model:
        raise PredictionInvalid("Field 'model' is missing; name it in the item or as ?model=NAME.")
    if item.prediction_id is None and item.request_id is None:
        raise PredictionInvalid(
            "Give each answer an id: 'request_id' (any text of yours), or a UUIDv7 'prediction_id'."
        )
    if item.probabilities is None and (item.predicted is None or item.confidence is None):
        raise PredictionInvalid("Give 'probabilities', or 'predicted' (a class) and 'confidence'.")
    if item.prediction_id is not None and item.served_at_ns is not None:
        minted_ns = int.from_bytes(item.prediction_id[:6], "big") * 1_000_000
        if abs(item.served_at_ns - minted_ns) > _DAY_NS:
            raise PredictionInvalid("Field 'served_at' is more than a day from the time in the UUIDv7 'prediction_id'.")


def _version(name: str, value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if type(value) is not int or not 1 <= value < 10**9:
        raise PredictionInvalid(f"Field '{name}' must be a whole number from 1 on; got {brief(str(value))}.")
    return value


def _uuid7(name: str, value: Any) -> bytes:
    key = read_uuid(name, value)
    if UUID(bytes=key).version != 7:
        raise PredictionInvalid(f"Field '{name}' must be a UUIDv7; send any other id as 'request_id'.")
    return key


def _fraction(name: str, value: Any) -> float:
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if type(value) not in (int, float) or not 0 <= value <= 1:  # NaN is neither
        raise PredictionInvalid(f"Field '{name}' must be a number in [0, 1]; got {brief(str(value))}.")
    return float(value)


def _share(name: str, value: Any) -> float:
    share = _fraction(name, value)
    if share == 0:
        raise PredictionInvalid(f"Field '{name}' is the probability with which the answer was drawn: more than 0.")
    return share


def _probabilities(name: str, value: Any) -> Probabilities:
    value = _from_cell(name, value)
    if not isinstance(value, dict | list) or not 2 <= len(value) <= CLASSES_LIMIT:
        raise PredictionInvalid(f"Field '{name}' must be a number for each class, a list or an object by class.")
    by_key: dict[Any, Any] = value if isinstance(value, dict) else dict(enumerate(value))
    numbers = {key: _fraction(name, each) for key, each in by_key.items()}
    total = sum(numbers.values())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise PredictionInvalid(f"Field '{name}' must add up to 1; got {total:.3f}.")
    return numbers if isinstance(value, dict) else tuple(numbers.values())


def _tags(name: str, value: Any) -> str | None:
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return read_tags(value)
    return tags_of(_from_cell(name, value))


def _from_cell(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise PredictionInvalid(f"Field '{name}' must be JSON in a cell; got {brief(value)}.") from None


_READERS = {
    "model": read_text,
    "version": _version,
    "prediction_id": _uuid7,
    "request_id": read_text,
    "probabilities": _probabilities,
    "predicted": read_text,
    "confidence": _fraction,
    "served_at": read_time_ns,
    "tags": _tags,
    "audit": _share,
    "label": read_text,
    "source": read_text,
    "observed_at": read_time_ns,
}
