"""Which rows of a table belong together: a column, a part of its file names, or a question.

Rows of one patient err together. Taken for independent, they look miscalibrated by chance alone.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final

from calibration.grouping import (
    GroupsUnclear,
    column_question,
    find_groups,
    group_named,
    group_of_each,
    repeats,
)
from calibration.wording import parameter
from candor.predictions.columns import ROW_IDS, ColumnWishes, TableColumns
from candor.predictions.errors import PredictionsRefused
from candor.predictions.table import read_rows

_SAMPLE: Final = 100_000
CellsOf = Callable[[Sequence[str]], dict[str, list[str]]]


def cells_in(file: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The cells of columns in a file's first rows, of a table that is not held in memory."""
    cells: dict[str, list[str]] = {name: [] for name in names}
    for row in islice(read_rows(file), _SAMPLE if names else 0):
        for name, values in cells.items():
            values.append(str(row.get(name, "")))
    return cells


def with_groups(
    source: object,
    cells_of: CellsOf,
    columns: TableColumns,
    wishes: ColumnWishes,
    *,
    known: Collection[str] = (),
) -> TableColumns:
    """Return the columns with the one that tells groups apart, by its name and its cells.

    Columns that are `known` as something else are not looked at, unless they are called so.

    Raises PredictionsRefused if a column, or a part of file names, looks as if it did, or the
    caller's pattern finds nothing.
    """
    if wishes.group_pattern is not None:
        return _by_pattern(columns, wishes.group_pattern)
    if wishes.group is not None:
        return columns
    row_id = columns.files or next((each for each in columns.ids if each in ROW_IDS), None)
    others = [name for name in columns.unused if name not in known]
    label = columns.label if columns.files is not None else None
    cells = cells_of([name for name in (columns.group, *others, row_id, label) if name])
    labels = [] if label is None else cells.pop(label)
    paths = [] if columns.files is None else [_path(cell) for cell in cells[columns.files]]
    try:
        used = group_of_each(cells, paths, labels, called="groups")
    except GroupsUnclear as error:
        raise PredictionsRefused(f"{source}: {error}") from error
    given = [cell for cell in cells[row_id] if cell] if used is None and row_id else []
    left = (*([columns.group] if columns.group else []), *columns.unused)
    return replace(
        columns,
        group=used,
        unused=tuple(name for name in left if name != used),
        repeated=len(given) - len(set(given)),
    )


def with_patients(
    source: object,
    cells_of: CellsOf,
    columns: TableColumns,
    wishes: ColumnWishes,
    *,
    known: Collection[str],
) -> TableColumns:
    """Return the columns of a table of labels with the one that names patients.

    Names of files are not asked about: images may have been sent with their patients. Neither is a
    column that is only called so, such as the finding `lesion`.

    Raises PredictionsRefused if the cells of a column look as if it did.
    """
    if wishes.group is not None:
        return columns
    others = [name for name in columns.unused if name not in known]
    cells = cells_of([name for name in (columns.group, *others) if name])
    used, asked = find_groups(cells)
    if asked is not None and repeats(cells[asked]):
        raise PredictionsRefused(f"{source}: {column_question(asked, called='groups')}")
    return replace(columns, group=used)


def group_of(row: Mapping[str, Any], columns: TableColumns) -> Any:
    """What names the group of a row; None if nothing does.

    Raises PredictionsRefused: the pattern finds nothing in the row's file.
    """
    value = row.get(columns.group) if columns.group else None
    if value is None or columns.group_pattern is None:
        return value
    try:
        return group_named(_path(str(value)), columns.group_pattern)
    except ValueError as error:
        raise PredictionsRefused(str(error)) from error


def _by_pattern(columns: TableColumns, pattern: str) -> TableColumns:
    if columns.files is None:
        raise PredictionsRefused(
            f"{parameter('group_pattern')} needs a column of file names, such as `file`"
        )
    try:
        re.compile(pattern)
    except re.error as error:
        raise PredictionsRefused(f"{pattern!r} is no regular expression: {error}") from error
    return replace(columns, group=columns.files, group_pattern=pattern)


def _path(cell: str) -> str:
    return PurePosixPath(cell.replace("\\", "/")).as_posix()
