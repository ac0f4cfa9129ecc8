"""Whether labels are findings, of which an image may have several, or exclusive classes.

A table with a column for each finding, lists such as `Edema|Mass`, and labels of shape (N, K) are
findings. Never is a class made of each combination. One-hot labels with exactly one 1 in each row
are classes, unless the user names findings. A list does not say what is absent, so the user is
asked which findings were looked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unicodedata import normalize

import numpy as np

from calibration.findings.labels import (
    ALL,
    LOOKED_FOR,
    SEPARATOR,
    UNCERTAIN,
    FindingLabels,
    are_lists,
    finding_columns,
    from_columns,
    from_lists,
)
from calibration.wording import counted, some
from training.datasets.errors import BadDataset
from training.datasets.label_kind import CLASSES, FINDINGS, LabelKind
from training.datasets.records import LoadedFrom

LABEL: Final = "label"
SHOWN = 20  # names of findings in a note
_NAN: Final = float("nan")  # one object, so that equal rows compare as equal


@dataclass(frozen=True)
class FoundLabels:
    """What labels of shape (N, K) turned out to be.

    `values` of findings are K numbers 1, 0 or NaN for each image.
    """

    names: tuple[str, ...]
    values: Sequence[int] | Sequence[tuple[float, ...]]
    kind: LabelKind
    notes: tuple[str, ...]


def table_labels(
    table: Path, rows: Sequence[Mapping[str, str]], options: LoadedFrom, *, others: Sequence[str]
) -> FoundLabels | None:
    """The labels of a table's rows; None if its column `label` has classes.

    `others` are columns that are no findings. Raises BadDataset: no labels, cells that are none, or
    lists without the findings that were looked for.
    """
    columns = {
        name: [row.get(name, "") for row in rows]
        for name in rows[0]
        if name not in ("path", *others)
    }
    try:
        if LABEL in columns:
            if options.exclusive or not _has_lists(columns, options):
                return None
            return decide(table, _read_lists(table, columns, options), options, listed=True)
        return decide(table, _read_columns(table, columns, options), options)
    except BadDataset:
        raise
    except ValueError as error:
        raise BadDataset(table, str(error)) from error


def _has_lists(columns: Mapping[str, Sequence[str]], options: LoadedFrom) -> bool:
    return LOOKED_FOR in columns or options.findings is not None or are_lists(columns[LABEL])


def _read_lists(
    table: Path, columns: Mapping[str, Sequence[str]], options: LoadedFrom
) -> FindingLabels:
    chosen = chosen_findings(options)
    looked_for = columns.get(LOOKED_FOR) or options.findings
    if looked_for is None:
        example = next(text for text in columns[LABEL] if SEPARATOR in text)
        raise BadDataset(
            table,
            f"labels such as {example!r} list what is there, not what is absent: say which "
            "findings were looked for in every image with --findings 'A|B|C', or '*' for all that "
            f"the table names, or in a column {LOOKED_FOR}; if they are names of exclusive "
            "classes, give --exclusive",
        )
    return from_lists(columns[LABEL], looked_for, chosen)


def _read_columns(
    table: Path, columns: Mapping[str, Sequence[str]], options: LoadedFrom
) -> FindingLabels:
    chosen = chosen_findings(options)
    found = finding_columns(columns) if chosen is None else chosen
    missing = [name for name in found if name not in columns]
    if missing or not found:
        none = f"{LABEL}, and none of 1, 0, -1 and blank (unknown)"
        lacks = repr(missing[0]) if missing else none
        raise BadDataset(table, f"has no column {lacks}; it has {', '.join(columns) or 'no other'}")
    return from_columns({name: columns[name] for name in found})


def require_classes(source: Path, options: LoadedFrom, why: str) -> None:
    """Raise BadDataset if the user named findings where labels are of classes."""
    if options.findings is not None:
        raise BadDataset(source, why)


def chosen_findings(options: LoadedFrom) -> list[str] | None:
    """The findings that the user named, in order; None for all."""
    if options.findings is None or options.findings == ALL:
        return None
    parts = normalize("NFC", options.findings).split(SEPARATOR)  # as the columns are read
    return [part.strip() for part in parts if part.strip()]


def decide(
    source: Path, found: FindingLabels, options: LoadedFrom, *, listed: bool = False
) -> FoundLabels:
    """Take labels (N, K) as findings or, if each row has exactly one 1, as classes.

    Raises BadDataset if the user said that classes exclude each other, and they do not.
    """
    if options.exclusive and not found.exclusive:
        raise BadDataset(
            source,
            "has rows with several labels, none, or unknown ones: they are no --exclusive classes",
        )
    if found.exclusive and not listed and options.findings is None:
        note = (
            f"each image has exactly one of {some(found.names, SHOWN)}, so they are exclusive "
            "classes; if an image may have several, give --findings '*'"
        )
        classes = found.labels.argmax(axis=1).tolist()
        return FoundLabels(found.names, classes, CLASSES, () if options.exclusive else (note,))
    labels = found.known_as(options.uncertain)
    values = [tuple(_NAN if x != x else x for x in row) for row in labels.tolist()]
    return FoundLabels(found.names, values, FINDINGS, _notes(found, options, listed=listed))


def _notes(found: FindingLabels, options: LoadedFrom, *, listed: bool) -> tuple[str, ...]:
    others = "; --findings chooses others" if options.findings in (None, ALL) else ""
    notes = [f"{counted(len(found.names), 'finding')}: {some(found.names, SHOWN)}{others}"]
    if not listed and (unknown := float(np.isnan(found.labels).mean())):
        notes.append(f"{unknown:.1%} of the labels are blank: unknown, not negative")
    if listed and (blank := int(np.isnan(found.labels).all(axis=1).sum())):
        notes.append(f"{counted(blank, 'list')} left blank: unknown; 'No Finding' says none")
    if uncertain := int((found.labels == UNCERTAIN).sum()):
        notes.append(
            f"{counted(uncertain, 'uncertain label')} (-1) taken as {options.uncertain} "
            "(--uncertain)"
        )
    return tuple(notes)
