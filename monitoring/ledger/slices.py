"""Which slices an answer is counted in: `predicted:<class>`, `true:<class>`, `tag:<key>=<value>` and `audit`.

Slices stay few whatever callers send: of a model's tags the first ten keys count, of each key the first fifty
values (table `tag_value` remembers which); further values share `tag:<key>=(other)`, further keys are only kept
with the answer. A value once placed stays in its place, so that a recount finds every answer where it was counted.
"""

import json
from collections import defaultdict
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from monitoring.ledger.calibrations import CalibrationRow
from monitoring.ledger.schema import tag_value

EVERYTHING = ""
AUDIT = "audit"
OTHER = "(other)"
KEY_LIMIT = 10
VALUE_LIMIT = 50
_MEMORY = 100_000  # tag texts whose slices are remembered


class Traits(NamedTuple):
    """What decides an answer's slices. `predicted`: index of the class. `tags`: JSON as in the ledger."""

    predicted: int
    tags: str | None = None
    audited: bool = False


class Slices:
    """The slices of answers. `calibrations` is shared with the recorder; used by the writer's thread alone."""

    def __init__(self, calibrations: dict[int, CalibrationRow]) -> None:
        self._calibrations = calibrations
        self._placed: dict[tuple[str, str], tuple[str, ...]] = {}  # by model and tags

    def of(self, connection: Connection, calibration_id: int, traits: Traits) -> tuple[str, ...]:
        """The slices that count this answer, served or labeled; a new tag value may be admitted by this."""
        row = self._calibrations[calibration_id]
        slices: tuple[str, ...] = (EVERYTHING, f"predicted:{row.classes[traits.predicted]}")
        if traits.tags is not None:
            slices += self._of_tags(connection, row.model, traits.tags)
        return (*slices, AUDIT) if traits.audited else slices

    def true(self, calibration_id: int, label: int) -> str:
        """The slice of the answers that have this label."""
        return f"true:{self._calibrations[calibration_id].classes[label]}"

    def forget(self) -> None:
        """Call after a transaction was undone: what it admitted is not there."""
        self._placed.clear()

    def _of_tags(self, connection: Connection, model: str, tags: str) -> tuple[str, ...]:
        known = self._placed.get((model, tags))
        if known is None:
            if len(self._placed) >= _MEMORY:
                self._placed.clear()
            known = self._placed[model, tags] = place(connection, model, tags)
        return known


def place(connection: Connection, model: str, tags: str) -> tuple[str, ...]:
    """The slices of these tags; values for which there is room are admitted."""
    values: dict[str, str] = json.loads(tags)
    admitted: dict[str, set[str]] = defaultdict(set)
    for key, value in connection.execute(select(tag_value.c.key, tag_value.c.value).filter_by(model=model)):
        admitted[key].add(value)
    slices = []
    for key, value in sorted(values.items()):
        if key not in admitted and len(admitted) >= KEY_LIMIT:
            continue
        if value not in admitted[key] and len(admitted[key]) < VALUE_LIMIT:
            connection.execute(insert(tag_value).values(model=model, key=key, value=value))
            admitted[key].add(value)
        slices.append(f"tag:{key}={value if value in admitted[key] else OTHER}")
    return tuple(slices)
