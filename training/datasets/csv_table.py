"""A table of images: a CSV file with the columns path and label, or path and findings.

It may have a column split, which is train, val or test, for every row or for none, and one that
tells patients or slides apart (`calibration.grouping`). Paths are relative to the file's folder, or
absolute. Semicolons, tabs or bars may separate the columns; a note says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np

from calibration.findings.labels import LOOKED_FOR
from calibration.grouping import find_groups
from calibration.splits import SPLITS
from calibration.wording import counted
from model_store.csv_tables import NotCsv, open_csv, require_distinct
from training.datasets.errors import BadDataset
from training.datasets.finding_labels import LABEL, read_labels
from training.datasets.table import ImageTable, Labels, SplitName
from training.load_options import LoadOptions

PATH, SPLIT = "path", "split"
OWN = (PATH, LABEL, LOOKED_FOR, SPLIT)  # columns that never tell patients apart
Columns = Mapping[str, Sequence[str]]


def read_csv(file: Path, options: LoadOptions) -> ImageTable:
    """The images of a table. Raises BadDataset: no value, unknown split, rows that disagree."""
    columns, delimiter = _read(file)
    others = {name: cells for name, cells in columns.items() if name not in OWN}
    group = options["group"] or find_groups(others)[0]
    labels = read_labels(file, columns, options, others=(SPLIT, "group", group))
    paths = [file.parent / path for path in columns[PATH]]
    splits = _splits(file, columns.get(SPLIT, [""] * len(paths)))
    rows = _distinct(file, paths, labels.values, splits, columns.get(group or "", splits))
    is_known = labels.values == labels.values  # NaN equals nothing
    known = [row for row in rows if is_known[row].any()]
    table = ImageTable(
        name=file.resolve().stem,
        layout="csv",
        root=file.parent,
        classes=labels.names,
        kind=labels.kind,
        labels=labels.values,
        splits=splits,
        paths=paths,
        columns={name: cells for name, cells in others.items() if name not in labels.columns},
        notes=(
            *_notes(file, columns, delimiter, repeated=len(paths) - len(rows)),
            *labels.notes,
            *_unlabeled(len(rows) - len(known)),
        ),
    )
    return table.take(known)


def _read(file: Path) -> tuple[dict[str, list[str]], str]:
    """Columns of a CSV file, with OWN names in lower case and stripped cells; the delimiter.

    Raises BadDataset if there is no path, or the file is no table.
    """
    try:
        with open_csv(file) as table:
            table.names = [_name(name) for name in table.names]
            if PATH not in table.names:
                raise BadDataset(
                    file,
                    f"has no column {PATH}; it has {', '.join(table.names) or 'none'}. Rename the "
                    f"one with the image files to path, and the one with the classes to {LABEL}",
                )
            require_distinct(table.names)
            rows = []
            for row in table:
                if any(row.values()) and PATH not in row:
                    raise BadDataset(
                        file, f"line {table.line} has fewer values than the header has columns"
                    )
                if any(row.values()):
                    rows.append({name: row.get(name, "").strip() for name in table.names})
    except NotCsv as error:
        raise BadDataset(file, str(error)) from None
    for row in rows:
        if not row[PATH]:
            raise BadDataset(file, f"a row has no path; its values are {list(row.values())}")
    return {name: [row[name] for row in rows] for name in table.names}, table.delimiter


def _name(column: str) -> str:
    plain = normalize("NFC", column.strip())
    return plain.lower() if plain.lower() in (*OWN, "group") else plain


def _splits(file: Path, cells: Sequence[str]) -> list[SplitName | None]:
    names = [cell.casefold() for cell in cells]
    for name in names:
        if name and name not in SPLITS:
            raise BadDataset(file, f"got the split {name!r}; expected train, val or test")
    return [SPLITS.get(name) for name in names]


def _distinct(
    file: Path, paths: Sequence[Path], labels: Labels, *said: Sequence[str | None]
) -> list[int]:
    """The first row of each image; its labels and what else is `said` are those of all its rows."""
    first: dict[Path, int] = {}
    for row, path in enumerate(paths):
        before = first.setdefault(path, row)
        if before == row:
            continue
        is_same = all(cells[before] == cells[row] for cells in said)
        if not (is_same and np.array_equal(labels[before], labels[row], equal_nan=True)):
            name = path.relative_to(file.parent) if path.is_relative_to(file.parent) else path
            raise BadDataset(file, f"two rows of {name} disagree")
    return list(first.values())


def _unlabeled(count: int) -> tuple[str, ...]:
    return (f"{counted(count, 'image')} without any known label left out",) if count else ()


def _notes(file: Path, columns: Columns, delimiter: str, *, repeated: int) -> Iterator[str]:
    """What a user might have meant otherwise."""
    if repeated:
        yield f"{counted(repeated, 'repeated row')} dropped"
    if delimiter != ",":
        name = {";": "semicolons (;)", "\t": "tabs", "|": "bars"}[delimiter]
        yield f"the columns of {file.name} are separated by {name}, not by commas, and are read so"
    spelled: dict[str, set[str]] = {}
    for label in columns.get(LABEL, ()):
        spelled.setdefault(label.casefold(), set()).add(label)
    for names in spelled.values():
        if len(names) > 1:
            yield f"{', '.join(map(repr, sorted(names)))} are different classes: if not, use one"
