"""The slices that count an answer: `predicted:<class>`, `true:<class>`, `tag:<key>=<value>`,
`audit`, and `scope:doubtful` for images with a p-value up to ALPHA, also by tag.

The number of slices is bounded whatever callers send. The first ten tag keys of a model count, and
the first fifty values of each key; the table `tag_value` holds which. Further values share
`tag:<key>=(other)`; further keys are only kept with the answer. A value keeps its slice for good,
so a recount finds every answer where it was counted.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Set
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from calibration.scope.verdict import ALPHA
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import EVERYTHING, tag_value
from monitoring.ledger.watched_version import WatchedVersion

AUDIT = "audit"
DOUBTFUL = "scope:doubtful"  # and, of tags, `scope:doubtful tag:<key>=<value>`
OTHER = "(other)"
ERASED = "(erased)"  # replaces a value that only erased answers had
KEY_LIMIT = 10
VALUE_LIMIT = 50
_MEMORY = 100_000  # tag texts whose slices are cached


def is_doubtful(scope_p: float | None) -> bool:
    """Whether the slice of doubtful images counts an answer, whatever alpha a server answers by."""
    return scope_p is not None and scope_p <= ALPHA


class SliceKeys(NamedTuple):
    """What determines an answer's slices: a class index, and tags as in the ledger."""

    predicted: int
    tags: str | None = None
    audited: bool = False
    doubtful: bool = False


class SliceNames:
    """Names the slices of answers, in one thread. `versions` is shared with the recorder."""

    def __init__(self, versions: dict[int, WatchedVersion], *, admits: bool = True) -> None:
        self._admits = admits  # else a new value shares a slice, as if there were no room
        self._versions = versions
        self._placed: dict[tuple[str, str], tuple[str, ...]] = {}  # by model and tags
        self._admitting = False

    def of(
        self, connection: Connection, watched_version_id: int, slice_keys: SliceKeys
    ) -> tuple[str, ...]:
        """Return the slices that count this answer; may admit a new tag value."""
        row = self._versions[watched_version_id]
        slices: tuple[str, ...] = (EVERYTHING, *row.slices_of(row.classes[slice_keys.predicted]))
        if slice_keys.tags is not None:
            slices += self._of_tags(connection, row.model, slice_keys.tags)
        if slice_keys.doubtful:
            tags = [each for each in slices if each.startswith("tag:")]
            slices += (DOUBTFUL, *(f"{DOUBTFUL} {each}" for each in tags))
        return (*slices, AUDIT) if slice_keys.audited else slices

    def true(self, watched_version_id: int, label: int) -> str:
        return f"true:{self._versions[watched_version_id].classes[label]}"

    def values(self, tags: str | None) -> list[tuple[str, str]]:
        """Return the keys and values of tags, sorted."""
        return sorted(json.loads(tags).items()) if tags is not None else []

    def begin(self) -> None:
        """Start a transaction: what the last one admitted may have been rolled back."""
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


def place(
    connection: Connection, model: str, tags: str, *, admit: bool = True
) -> tuple[tuple[str, ...], bool]:
    """Return the slices of tags, and whether a new value was admitted because there is room."""
    values: dict[str, str] = json.loads(tags)
    known = admitted(connection, model)
    new = _new(known, values) if admit else []
    if new:
        lock(connection, Lock.TAGS)
        known = admitted(connection, model)  # another process may have been faster
        new = _new(known, values)
        for key, value in new:
            connection.execute(insert(tag_value).values(model=model, key=key, value=value))
            known[key].add(value)
    return slices_of(known, tags), bool(new)


def slices_of(known: Mapping[str, Set[str]], tags: str) -> tuple[str, ...]:
    """Return the slices of tags. `known`: the values that were `admitted`."""
    return tuple(
        f"tag:{key}={value if value in known[key] else OTHER}"
        for key, value in sorted(json.loads(tags).items())
        if key in known
    )


def admitted(connection: Connection, model: str) -> dict[str, set[str]]:
    """Return the values of each tag key that have a slice of their own."""
    known: dict[str, set[str]] = defaultdict(set)
    for key, value in connection.execute(
        select(tag_value.c.key, tag_value.c.value).filter_by(model=model)
    ):
        known[key].add(value)
    return known


def _new(known: dict[str, set[str]], values: dict[str, str]) -> list[tuple[str, str]]:
    """Return the values that have no slice yet and for which there is room."""
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
