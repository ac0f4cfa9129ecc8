"""Reads labeled predictions from a table, or from an `.npz` of arrays."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from calibration.findings.labels import SEPARATOR
from calibration.wording import counted, some
from candor.predictions.archive import collect_archive
from candor.predictions.collected import Collected, as_text, collect, numbers
from candor.predictions.columns import TableColumns, around_labels, find_columns
from candor.predictions.errors import PredictionsRefused
from candor.predictions.findings import interpret_cells
from candor.predictions.labeled import Predictions, ReadingOptions
from candor.predictions.row_groups import with_groups
from candor.predictions.tables import count_rows, read_columns, read_rows

_SAMPLE = 200
_LISTED = 5
RowsRead = Callable[[str, int, int], None]  # file, rows read, about how many there are


def read_predictions(
    file: Path, options: ReadingOptions | None = None, *, progress: RowsRead | None = None
) -> Predictions:
    """Read a file of predictions.

    Raises:
        PredictionsRefused: the cells cannot be read, or what they mean is open.
        candor.predictions.errors.ColumnsUnclear: what the columns are is open.
        candor.predictions.errors.TableRefused: the file is no table.
        OSError: the file cannot be read.
    """
    chosen = options or ReadingOptions()
    columns, collected = _collect(file, chosen, progress)
    found = interpret_cells(collected, columns, chosen)
    if not columns.repeated:
        return found
    said = (
        f"{counted(columns.repeated, 'row')} with the file or id of an earlier row: they count as "
        "independent rows. Remove copies, or keep them together with `--group`."
    )
    return replace(found, notes=(*found.notes, said))


def _collect(
    file: Path, options: ReadingOptions, progress: RowsRead | None
) -> tuple[TableColumns, Collected]:
    if file.suffix.lower() == ".npz":
        return collect_archive(file, options.wishes)
    names = read_columns(file)
    columns = _lists(file, find_columns(names, options.wishes, labels=options.known))
    if options.needs_labels and len(columns.scores) < 2 and not columns.vector and columns.label:
        labels = Counter(
            part.strip()
            for row in read_rows(file)
            for part in (as_text(row.get(columns.label)) or "").split(SEPARATOR)
        )
        columns = find_columns(names, options.wishes, labels=labels)
        if not columns.scores and columns.confidence is None:
            columns = around_labels(columns, labels)
        if not columns.scores and columns.confidence is None:
            _refuse_names(file, columns, labels)
    columns = with_groups(file, columns, options.wishes) if options.needs_labels else columns
    return columns, collect(
        file, _watched(file, progress), columns, with_ids=not options.needs_labels
    )


def _lists(file: Path, columns: TableColumns) -> TableColumns:
    """Take predictions that are lists as the scores of all classes."""
    if columns.scores or columns.vector or columns.predicted is None:
        return columns
    cells = (row.get(columns.predicted) for row in islice(read_rows(file), _SAMPLE))
    if not any(isinstance(cell, list | dict) or str(cell)[:1] in "[{" for cell in cells if cell):
        return columns
    return replace(columns, vector=columns.predicted, predicted=None)


def _refuse_names(file: Path, columns: TableColumns, labels: Counter[str]) -> None:
    """Refuse labels that no column is called by, if columns could be those of the classes."""
    sample = list(islice(read_rows(file), _SAMPLE))
    numeric = [
        name for name in columns.unused if _holds_numbers([row.get(name) for row in sample], name)
    ]
    called = {name.casefold() for name in numeric}
    wrong = [
        (name, count)
        for name, count in labels.most_common()
        if name and name.casefold() not in called
    ]
    if len(numeric) < 2 or not wrong:
        return
    said = some([f"{name!r} ({counted(count, 'row')})" for name, count in wrong], _LISTED)
    listed = ",".join(numeric)
    raise PredictionsRefused(
        f"labels {said} do not match the columns {', '.join(numeric)}. Correct slips in the "
        "file; if labels have other names than the columns of their classes, give --probabilities "
        f"{listed} --classes with the names of the labels in the order of these columns"
        f"{', or --confidence if a column is about the predicted class' * bool(columns.predicted)}"
    )


def _holds_numbers(cells: list[Any], column: str) -> bool:
    try:
        return not np.isnan(numbers(cells, column, 1)).all()
    except PredictionsRefused:
        return False


def _watched(file: Path, progress: RowsRead | None) -> Iterator[Mapping[str, Any]]:
    total = count_rows(file) if progress else 0
    for number, row in enumerate(read_rows(file), 1):
        if progress and number % 20_000 == 0:
            progress(file.name, number, max(number, total))
        yield row
