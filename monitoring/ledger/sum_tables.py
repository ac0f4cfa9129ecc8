"""The tables of sums by slice, day and confidence bin, their totals over all days, and the slices
that count an answer.

Sums are integers: counts, or of terms in units of 2^-32, so they depend neither on the order of
answers, nor on how they shared commits, nor on which process wrote them, and a recount equals them.
64 bits suffice for two billion answers.

The slices are `predicted:<class>`, `true:<class>`, `tag:<key>=<value>`, `audit`, and
`scope:doubtful` for images with a p-value up to ALPHA, also by tag. Their number is bounded
whatever callers send. The first ten tag keys of a model count, and the first fifty values of each
key; the table `tag_value` holds which. Further values share `tag:<key>=(other)`; further keys are
only kept with the answer. A value keeps its slice for good, so a recount finds every answer where
it was counted.
"""

import json
import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Table,
    and_,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
)

from calibration.scope.verdict import ALPHA
from monitoring.ledger.database import adding, deleting
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import EVERYTHING, bin_day, bin_total, input_day, tag_value
from monitoring.ledger.watched_version import WatchedVersion

UNITS = 2.0**32  # in 1, of a sum that is no count
COUNTS = frozenset({"served", "n", "correct"})


def added(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The sum of integers; PostgreSQL's is a decimal."""
    return cast(func.sum(column), BigInteger)


def summed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The sum of a column of sums, as a number; dividing by a power of two rounds at most once."""
    total = added(column)
    return total if column.name in COUNTS else cast(total, Double) / UNITS


class TotalKey(NamedTuple):
    """The key of the totals, without the shard."""

    watched_version_id: int
    slice: str
    bin: int


class SumKey(NamedTuple):
    """The key of the day sums, without the shard."""

    watched_version_id: int
    slice: str
    day: int
    bin: int

    @property
    def total(self) -> TotalKey:
        return TotalKey(self.watched_version_id, self.slice, self.bin)


_Key = TypeVar("_Key", bound=tuple[Any, ...])


class SumTable(Generic[_Key]):
    """A table of sums by `key` and shard; writers spread over shards, readers add them up."""

    def __init__(self, table: Table, key: type[_Key]) -> None:
        named: Any = key
        self.table, self._make = table, named._make
        self.sums = tuple(column for column in table.columns if not column.primary_key)
        self._keys = tuple(table.c[name] for name in named._fields)
        self._add = adding(table)
        shards = table.alias()
        same = (shards.c[column.name] == column for column in self._keys)
        counted = select(func.sum(shards.c.served + shards.c.n)).where(*same).scalar_subquery()
        nothing = literal_column("0", BigInteger)
        is_empty = or_(counted == nothing, and_(*(column == nothing for column in self.sums)))
        self._drop_empty = deleting(table, named._fields, is_empty)

    def add(
        self, connection: Connection, rows: Mapping[_Key, Sequence[int]], *, shard: int = 0
    ) -> None:
        """Add to rows, in the order of the key, so that concurrent writers cannot deadlock."""
        self._add.run(connection, [(*key, shard, *rows[key]) for key in sorted(rows)])

    def read(
        self, connection: Connection, *where: ColumnElement[bool]
    ) -> dict[_Key, Sequence[int]]:
        """Return the stored rows, over all shards."""
        wanted = select(*self._keys, *map(added, self.sums)).where(*where).group_by(*self._keys)
        width = len(self._keys)
        rows = connection.execute(wanted)
        return {self._make(row[:width]): list(row[width:]) for row in rows}

    def drop_empty(self, connection: Connection, keys: Iterable[_Key]) -> None:
        """Delete those of these rows that count nothing, while no other may write to them."""
        self._drop_empty.run(connection, sorted(set(keys)))


DAYS = SumTable(bin_day, SumKey)
TOTALS = SumTable(bin_total, TotalKey)
INPUT_SUMS = tuple(column for column in input_day.columns if not column.primary_key)
GRAY_UNIT = 2.0**-16  # gray levels; the sums of brightness are integers of it, exact in any order


def add_sums(
    connection: Connection, rows: Mapping[SumKey, Sequence[int]], *, shard: int = 0
) -> None:
    DAYS.add(connection, rows, shard=shard)
    TOTALS.add(connection, totaled((key.total, sums) for key, sums in rows.items()), shard=shard)


def totaled(days: Iterable[tuple[TotalKey, Sequence[int]]]) -> dict[TotalKey, list[int]]:
    """Add up rows of day sums, all seven in the order of the columns."""
    totals: dict[TotalKey, list[int]] = defaultdict(lambda: [0] * len(DAYS.sums))
    for key, sums in days:
        totals[key] = add(totals[key], sums)
    return totals


def add(sums: Iterable[int], terms: Iterable[int]) -> list[int]:
    return list(map(operator.add, sums, terms))


def rebuild_totals(connection: Connection, watched_version_ids: Iterable[int]) -> None:
    """Add up the day sums of these versions again, while others may not write."""
    for watched_version_id in sorted(watched_version_ids):
        of_version = {"watched_version_id": watched_version_id}
        keys = (bin_day.c.watched_version_id, bin_day.c.slice, bin_day.c.bin)
        rows = select(*keys, literal(0), *map(added, DAYS.sums))
        connection.execute(delete(bin_total).filter_by(**of_version))
        names = [column.name for column in bin_total.columns]
        totals = rows.filter_by(**of_version).group_by(*keys)
        connection.execute(insert(bin_total).from_select(names, totals))


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
        self._known: dict[str, dict[str, set[str]]] = {}  # by model, as of this transaction
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

    def begin(self) -> None:
        """Start a transaction: what the last one admitted may have been rolled back."""
        self._admitting = False
        self._known.clear()

    def _of_tags(self, connection: Connection, model: str, tags: str) -> tuple[str, ...]:
        known = self._placed.get((model, tags))
        if known is not None:
            return known
        if model not in self._known:
            self._known[model] = admitted(connection, model)
        if self._admits:
            self._admitting |= admit(connection, model, tags, self._known[model])
        found = slices_of(self._known[model], tags)
        if not self._admitting:
            if len(self._placed) >= _MEMORY:
                self._placed.clear()
            self._placed[model, tags] = found
        return found


def values_of(tags: str | None) -> list[tuple[str, str]]:
    """Return the keys and values of tags, sorted."""
    return sorted(json.loads(tags).items()) if tags is not None else []


def admit(connection: Connection, model: str, tags: str, known: dict[str, set[str]]) -> bool:
    """Admit the values of tags for which there is room, and add them to `known`, which may be of
    earlier in the transaction; return whether there were any.
    """
    values: dict[str, str] = json.loads(tags)
    if not _new(known, values):
        return False
    lock(connection, Lock.TAGS)
    known.update(admitted(connection, model))  # another process may have been faster
    new = _new(known, values)
    for key, value in new:
        connection.execute(insert(tag_value).values(model=model, key=key, value=value))
        known[key].add(value)
    return bool(new)


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
