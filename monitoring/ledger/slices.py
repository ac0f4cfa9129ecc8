"""Which slices an answer is counted in: `predicted:<class>`, `true:<class>`, `tag:<key>=<value>` and `audit`.

SliceNames stay few whatever callers send: of a model's tags the first ten keys count, of each key the first fifty
values (table `tag_value` remembers which); further values share `tag:<key>=(other)`, further keys are only kept
with the answer. A value once placed stays in its place, so that a recount finds every answer where it was counted.
"""

import json
from collections import defaultdict
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from monitoring.ledger.calibrations import CalibrationRow
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import tag_value

EVERYTHING = ""
AUDIT = "audit"
OTHER = "(other)"
ERASED = "(erased)"  # takes the place of a value that was only ever sent with answers that are erased
KEY_LIMIT = 10
VALUE_LIMIT = 50
_MEMORY = 100_000  # tag texts whose slices are remembered


class SliceKeys(NamedTuple):
    """What decides an answer's slices. `predicted`: index of the class. `tags`: JSON as in the ledger."""

    predicted: int
    tags: str | None = None
    audited: bool = False


class SliceNames:
    """The slices of answers. `calibrations` is shared with the recorder; used by the writer's thread alone."""

    def __init__(self, calibrations: dict[int, CalibrationRow], *, admits: bool = True) -> None:
        self._admits = admits  # else a value without a slice shares one, as if there were no room
        self._calibrations = calibrations
        self._placed: dict[tuple[str, str], tuple[str, ...]] = {}  # by model and tags
        self._admitting = False

    def of(self, connection: Connection, calibration_id: int, slice_keys: SliceKeys) -> tuple[str, ...]:
        """The slices that count this answer, served or labeled; a new tag value may be admitted by this."""
        row = self._calibrations[calibration_id]
        slices: tuple[str, ...] = (EVERYTHING, f"predicted:{row.classes[slice_keys.predicted]}")
        if slice_keys.tags is not None:
            slices += self._of_tags(connection, row.model, slice_keys.tags)
        return (*slices, AUDIT) if slice_keys.audited else slices

    def true(self, calibration_id: int, label: int) -> str:
        """The slice of the answers that have this label."""
        return f"true:{self._calibrations[calibration_id].classes[label]}"

    def values(self, tags: str | None) -> list[tuple[str, str]]:
        """The keys and values of tags."""
        return sorted(json.loads(tags).items()) if tags is not None else []

    def begin(self) -> None:
        """Call at the start of a transaction: what the last one admitted may be undone, so it was not remembered."""
        self._admitting = False

    def _of_tags(self, connection: Connection, model: str, tags: str) -> tuple[str, ...]:
        known = self._placed.get((model, tags))
        if known is not None:
            return known
        found, admitted = place(connection, model, tags, admit=self._admits)
        self._admitting |= admitted
        if not self._admitting:
            if len(self._placed) >= _MEMORY:
                self._placed.clear()
            self._placed[model, tags] = found
        return found


def place(connection: Connection, model: str, tags: str, *, admit: bool = True) -> tuple[tuple[str, ...], bool]:
    """The slices of these tags, and whether a value was admitted, which happens while there is room."""
    values: dict[str, str] = json.loads(tags)
    known = _admitted(connection, model)
    new = _new(known, values) if admit else []
    if new:
        lock(connection, Lock.TAGS)
        known = _admitted(connection, model)  # another process may have been quicker
        new = _new(known, values)
        for key, value in new:
            connection.execute(insert(tag_value).values(model=model, key=key, value=value))
            known[key].add(value)
    slices = (
        f"tag:{key}={value if value in known[key] else OTHER}" for key, value in sorted(values.items()) if key in known
    )
    return tuple(slices), bool(new)


def _admitted(connection: Connection, model: str) -> dict[str, set[str]]:
    known: dict[str, set[str]] = defaultdict(set)
    for key, value in connection.execute(select(tag_value.c.key, tag_value.c.value).filter_by(model=model)):
        known[key].add(value)
    return known


def _new(known: dict[str, set[str]], values: dict[str, str]) -> list[tuple[str, str]]:
    """The values that have no slice yet and for which there is room."""
    room_for_keys = KEY_LIMIT - len(known)
    new = []
    for key, value in sorted(values.items()):
        if key not in known:
            room_for_keys -= 1
            if room_for_keys >= 0:
                new.append((key, value))
        elif value not in known[key] and len(known[key]) < VALUE_LIMIT:
            new.append((key, value))
    return new
