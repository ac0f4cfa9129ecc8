"""The history of a model, `history.jsonl`: a line of JSON, only appended, for each thing done.

Each line holds the hash of the line before it, so a line that was changed, inserted or taken out of
the middle shows. An alias holds its own last line, so the history can say it even if the process
died before it wrote it down.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from model_store.bundle.manifest import MAX_VERSION, Digest
from model_store.bundle.records import ClosedRecord
from model_store.errors import HistoryError
from model_store.store.alias import PRODUCTION, Alias, Who, Why, made_now
from model_store.store.storage import Storage

HISTORY_FILE = "history.jsonl"
Action = Literal[
    "published",
    "set",
    "rolled back",
    "removed",
    "retired",
    "restored",
    "collected",
    "canary started",
    "canary changed",
    "canary promoted",
    "canary aborted",
    "signed",
]


class StoreEvent(ClosedRecord):
    """Something that was done.

    Attributes:
        version: with which version; None where an alias was removed.
        digest: of the bundle, as far as it was known.
        before: the version to which the alias pointed before.
        how: a canary is tried, such as "5 % of the requests".
        previous: hash of the line before; None on the first line.
    """

    action: Action
    version: int | None = Field(default=None, ge=1, le=MAX_VERSION)
    alias: str | None = None
    digest: Digest | None = None
    before: int | None = None
    at: datetime
    by: Who
    why: Why | None = None
    how: Annotated[str, Field(max_length=100)] | None = None
    previous: str | None = None


def new_event(action: Action, **fields: Any) -> StoreEvent:
    """Return an event of now, with the fields of StoreEvent. Raises HistoryError for long texts."""
    return made_now(StoreEvent, HistoryError, action=action, **fields)


def record(storage: Storage, model: str, action: Action, **fields: Any) -> None:
    """Append a new event. Raises HistoryError for long texts."""
    append(storage, model, new_event(action, **fields))


def event_of(alias: str, chosen: Alias) -> StoreEvent:
    return StoreEvent(alias=alias, **chosen.model_dump())


def read_events(storage: Storage, model: str) -> list[StoreEvent]:
    """Return what was done, oldest first. Raises HistoryError for a line that was changed."""
    return list(_parsed(model, _read(storage, model)))


def append(storage: Storage, model: str, *events: StoreEvent) -> None:
    """Append events that are not there yet, also to a history that somebody has damaged."""
    while True:
        old = _read(storage, model)
        lines = old or b""
        if lines and not lines.endswith(b"\n"):
            lines += b"\n"
        recorded = set(known_events(lines))
        for event in events:
            if event not in recorded:
                lines += _line(event.model_copy(update={"previous": _last_hash(lines)}))
        if lines == (old or b"") or storage.swap(model, HISTORY_FILE, old, lines):
            return


def known_events(lines: bytes) -> Iterator[StoreEvent]:
    """Yield the events in these lines without their links, leaving out what is none."""
    for line in lines.splitlines():
        with suppress(ValidationError):
            yield StoreEvent.model_validate_json(line).model_copy(update={"previous": None})


def earlier_version(events: list[StoreEvent], alias: str) -> int | None:
    """Return where a rollback takes an alias: before the last step that was not rolled back.

    >>> at = {"at": datetime(2026, 1, 1), "by": "ann", "alias": "production"}
    >>> promoted = [StoreEvent(action="set", version=version, **at) for version in (1, 2, 3)]
    >>> earlier_version(promoted, "production")
    2
    >>> back = StoreEvent(action="rolled back", version=2, **at)
    >>> earlier_version([*promoted, back], "production")
    1
    """
    stack: list[int | None] = []
    for event in events:
        if event.alias != alias:
            continue
        if event.action == "rolled back":
            while stack and stack[-1] != event.version:
                stack.pop()
        elif not stack or stack[-1] != event.version:
            stack.append(event.version)
    return stack[-2] if len(stack) > 1 else None


def published_digest(storage: Storage, model: str, version: int) -> str | None:
    """Return the digest with which a version was published; None if the history does not say."""
    events = known_events(_read(storage, model) or b"")
    published = (each for each in events if each.action == "published")
    return {each.version: each.digest for each in published}.get(version)


def tried_versions(storage: Storage, model: str) -> set[int]:
    """Return the versions that were in production once, or whose canary was aborted."""
    return {
        each.version
        for each in known_events(_read(storage, model) or b"")
        if each.version and (each.alias == PRODUCTION or each.action == "canary aborted")
    }


def _read(storage: Storage, model: str) -> bytes | None:
    try:
        return storage.read(model, HISTORY_FILE)
    except OSError as error:
        raise HistoryError(f"the history of '{model}' cannot be read: {error.strerror}") from error


def _parsed(model: str, data: bytes | None) -> Iterator[StoreEvent]:
    previous = None
    for number, line in enumerate((data or b"").splitlines(keepends=True), 1):
        try:
            event = StoreEvent.model_validate_json(line)
        except ValidationError as error:
            raise HistoryError(
                f"line {number} of the history of '{model}' is no event: somebody changed it"
            ) from error
        if event.previous != previous:
            raise HistoryError(
                f"line {number} of the history of '{model}' does not follow the one before: one "
                "was changed or removed"
            )
        previous = _hash(line)
        yield event


def _line(event: StoreEvent) -> bytes:
    return event.model_dump_json(exclude_none=True).encode() + b"\n"


def _last_hash(lines: bytes) -> str | None:
    return _hash(lines.splitlines(keepends=True)[-1]) if lines else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:16]
