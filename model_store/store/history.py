"""The history of a model, `history.jsonl`: a line of JSON, only appended, for each thing done.

It alone says what state a model is in. A change reads it, decides, and replaces it only if nobody
else has meanwhile; so a change is done or not, and all changes have one order.

Each line holds the hash of the line before it, so a line that was changed, inserted or taken out of
the middle shows.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from pydantic import ValidationError

from model_store.bundle.files import first_problem
from model_store.errors import HistoryError
from model_store.store.event import StoreEvent
from model_store.store.state import ModelState
from model_store.store.storage import Storage

HISTORY_FILE = "history.jsonl"
# What to add to the history of a model in this state; None for nothing.
Decide: TypeAlias = Callable[[ModelState], StoreEvent | None]


@dataclass(frozen=True)
class Change:
    """What was done, if anything, and the state before it."""

    before: ModelState
    event: StoreEvent | None = None

    @property
    def after(self) -> ModelState:
        """The state with the event."""
        return ModelState((*self.before.events, self.event)) if self.event else self.before


def read_state(storage: Storage, model: str) -> ModelState:
    """Return what the history says. Raises HistoryError for a line that was changed."""
    return _state(model, _read(storage, model))


def change(storage: Storage, model: str, decide: Decide) -> Change:
    """Append what `decide` says of the state, which it is asked again if somebody was faster.

    Raises HistoryError for a history that was changed: nothing is added to it.
    """
    done, line = Change(ModelState()), b""
    while True:
        old = _read(storage, model)
        lines = old.splitlines()
        if line and line in lines:  # it was written, but the answer was lost
            return done
        before = _state(model, old)
        done = Change(before, decide(before))
        if done.event is None:
            return done
        line = _line(done.event, after=lines[-1] if lines else None)
        new = b"".join(each + b"\n" for each in (*lines, line))
        if storage.swap(model, HISTORY_FILE, old or None, new):
            return done


def _read(storage: Storage, model: str) -> bytes:
    try:
        return storage.read(model, HISTORY_FILE) or b""
    except OSError as error:
        raise HistoryError(f"the history of '{model}' cannot be read: {error.strerror}") from error


@lru_cache(maxsize=64)
def _state(model: str, data: bytes) -> ModelState:
    """What these lines say: who asks again and again reads them, but parses them once."""
    return ModelState(tuple(_parsed(model, data)))


def _parsed(model: str, data: bytes) -> Iterator[StoreEvent]:
    previous = None
    mend = "; put the file back as it was, or keep only the lines before this one"
    for number, line in enumerate(data.splitlines(), 1):
        where = f"line {number} of the history of '{model}'"
        try:
            event = StoreEvent.model_validate_json(line)
        except ValidationError as error:
            raise HistoryError(
                f"{where} is no event, somebody changed it ({first_problem(error)}){mend}"
            ) from error
        if event.previous != previous:
            raise HistoryError(
                f"{where} does not follow the one before: one was changed or removed{mend}"
            )
        previous = _hash(line)
        yield event


def _line(event: StoreEvent, *, after: bytes | None) -> bytes:
    """The event as a line that follows this one."""
    linked = event.model_copy(update={"previous": None if after is None else _hash(after)})
    return linked.model_dump_json(exclude_none=True).encode()


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:16]
