"""What labels are: exclusive classes, or findings, of which an image may have several.

A table with a column for each finding, lists such as `Edema|Mass`, and labels of shape (N, K) are
findings. Never is a class made of each combination. One-hot labels with exactly one 1 in each row
are classes, unless the user names findings. A list does not say what is absent, so the user is
asked which findings were looked for.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    is_missing,
)
from calibration.wording import counted, parameter, some
from training.datasets.errors import BadDataset
from training.datasets.label_kind import CLASSES, FINDINGS, LabelKind
from training.datasets.table import Labels
from training.load_options import LoadOptions

LABEL: Final = "label"
SHOWN = 20  # names of findings in a note
Columns = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ReadLabels:
    """Names of classes or findings, and labels: int64 (N,), or float64 (N, K) of 1, 0 and NaN."""

    names: tuple[str, ...]
    values: Labels
    kind: LabelKind = CLASSES
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = (LABEL,)


def read_labels(
    table: Path, columns: Columns, options: LoadOptions, *, others: Collection[str | None]
) -> ReadLabels:
    """The labels of a table's rows; `others` are columns that are no findings.

    Raises BadDataset: no labels, cells that are none, or lists without the findings that were
    looked for.
    """
    given = {name: cells for name, cells in columns.items() if name not in ("path", *others)}
    try:
        if LABEL not in given:
            found = _from_columns(table, given, options)
            return replace(decide(table, found, options), columns=found.names)
        if options["exclusive"] or not _has_lists(given, options):
            return _classes(table, columns["path"], given[LABEL])
        return decide(table, _from_lists(table, given, options), options, listed=True)
    except BadDataset:
        raise
    except ValueError as error:
        raise BadDataset(table, str(error)) from error


def _classes(table: Path, paths: Sequence[str], cells: Sequence[str]) -> ReadLabels:
    """Exclusive classes, sorted, by number if all are numbers."""
    for path, cell in zip(paths, cells, strict=True):
        if is_missing(cell):
            raise BadDataset(
                table, f"the row of {path!r} has a path and no label, but {cell!r}; it needs both"
            )
    labels = [normalize("NFC", cell) for cell in cells]  # a Mac decomposes accents
    names = sorted(set(labels))
    if len(names) < 2:
        raise BadDataset(table, f"has {counted(len(names), 'label')}; expected two or more")
    if all(name.lstrip("-").isdecimal() for name in names):
        names.sort(key=int)
    places = {name: place for place, name in enumerate(names)}
    return ReadLabels(tuple(names), np.array([places[label] for label in labels], np.int64))


def _has_lists(columns: Columns, options: LoadOptions) -> bool:
    return LOOKED_FOR in columns or options["findings"] is not None or are_lists(columns[LABEL])


def _from_lists(table: Path, columns: Columns, options: LoadOptions) -> FindingLabels:
    looked_for = columns.get(LOOKED_FOR) or options["findings"]
    if looked_for is None:
        example = next(text for text in columns[LABEL] if SEPARATOR in text)
        raise BadDataset(
            table,
            f"labels such as {example!r} list what is there, not what is absent: say which "
            f"findings were looked for in every image with {parameter('findings', 'A|B|C')}, or "
            f"'*' for all that the table names, or in a column {LOOKED_FOR}; if they are names of "
            f"exclusive classes, give {parameter('exclusive', True)}",
        )
    return from_lists(columns[LABEL], looked_for, chosen_findings(options))


def _from_columns(table: Path, columns: Columns, options: LoadOptions) -> FindingLabels:
    chosen = chosen_findings(options)
    found = finding_columns(columns) if chosen is None else chosen
    missing = [name for name in found if name not in columns]
    if missing or not found:
        none = f"{LABEL}, and none of 1, 0, -1 and blank (unknown)"
        lacks = repr(missing[0]) if missing else none
        raise BadDataset(table, f"has no column {lacks}; it has {', '.join(columns) or 'no other'}")
    return from_columns({name: columns[name] for name in found})


def require_classes(source: Path, options: LoadOptions, why: str) -> None:
    """Raise BadDataset if the user named findings where labels are of classes."""
    if options["findings"] is not None:
        raise BadDataset(source, why)


def chosen_findings(options: LoadOptions) -> list[str] | None:
    """The findings that the user named, in order; None for all."""
    named = options["findings"]
    if not isinstance(named, str) or named == ALL:
        return None
    parts = normalize("NFC", named).split(SEPARATOR)  # as the columns are read
    return [part.strip() for part in parts if part.strip()]


def decide(
    source: Path, found: FindingLabels, options: LoadOptions, *, listed: bool = False
) -> ReadLabels:
    """Take labels (N, K) as findings or, if each row has exactly one 1, as classes.

    Raises BadDataset if the user said that classes exclude each other, and they do not.
    """
    if options["exclusive"] and not found.exclusive:
        raise BadDataset(
            source,
            "has rows with several labels, none, or unknown ones: they are no "
            f"{parameter('exclusive')} classes",
        )
    if found.exclusive and not listed and options["findings"] is None:
        note = (
            f"each image has exactly one of {some(found.names, SHOWN)}, so they are exclusive "
            f"classes; if an image may have several, give {parameter('findings', ALL)}"
        )
        notes = () if options["exclusive"] else (note,)
        return ReadLabels(found.names, found.labels.argmax(axis=1), CLASSES, notes)
    labels = found.known_as(options["uncertain"])
    return ReadLabels(found.names, labels, FINDINGS, tuple(_notes(found, options, listed=listed)))


def _notes(found: FindingLabels, options: LoadOptions, *, listed: bool) -> Iterator[str]:
    others = "" if chosen_findings(options) else f"; {parameter('findings')} chooses others"
    yield f"{counted(len(found.names), 'finding')}: {some(found.names, SHOWN)}{others}"
    unknown = np.isnan(found.labels)
    if not listed and unknown.any():
        yield f"{unknown.mean():.1%} of the labels are blank: unknown, not negative"
    if listed and (blank := int(unknown.all(axis=1).sum())):
        yield f"{counted(blank, 'list')} left blank: unknown; 'No Finding' says none"
    if uncertain := int((found.labels == UNCERTAIN).sum()):
        yield (
            f"{counted(uncertain, 'uncertain label')} (-1) taken as {options['uncertain']} "
            f"({parameter('uncertain')})"
        )
