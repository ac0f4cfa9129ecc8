"""Reads labeled predictions from a file."""

from dataclasses import replace
from pathlib import Path

from calibration.findings.labels import SEPARATOR
from calibration.wording import counted, parameter
from candor.predictions.cells import composed
from candor.predictions.columns import TableColumns, find_columns, is_score
from candor.predictions.errors import PredictionsRefused
from candor.predictions.findings import interpret_table
from candor.predictions.labeled import Predictions, ReadingOptions
from candor.predictions.row_groups import with_groups
from candor.predictions.table import ColumnTable, RowsRead, read_table


def read_predictions(
    file: Path, options: ReadingOptions | None = None, *, progress: RowsRead | None = None
) -> Predictions:
    """Read a file of predictions.

    Raises:
        PredictionsRefused: the file is no table, its cells cannot be read, or what columns or
            cells mean is open.
        OSError: the file cannot be read.
    """
    chosen = options or ReadingOptions()
    table = read_table(
        file, is_score=lambda name: is_score(composed(name), chosen.wishes), progress=progress
    )
    return understood(table, chosen)


def understood(table: ColumnTable, options: ReadingOptions) -> Predictions:
    """Return what a table says. Raises PredictionsRefused."""
    columns = find_columns([*table.columns], options.wishes, labels=options.known)
    if options.needs_labels and columns.label and not columns.scores:
        texts = set(table.texts(columns.label))
        called = {part.strip() for text in texts for part in text.split(SEPARATOR)}
        columns = find_columns([*table.columns], options.wishes, labels=called)
    table = _only(table, columns)
    if options.needs_labels:
        columns = with_groups(
            table.source,
            table.plain,
            columns,
            options.wishes,
        )
    found = interpret_table(table, columns, options)
    if not columns.repeated:
        return found
    said = (
        f"{counted(columns.repeated, 'row')} with the file or id of an earlier row: they count as "
        f"independent rows. Remove copies, or keep them together with {parameter('groups')}."
    )
    return replace(found, notes=(*found.notes, said))


def _only(table: ColumnTable, columns: TableColumns) -> ColumnTable:
    """The table without arrays of other things, which may differ in length."""
    roles = (columns.label, columns.predicted, columns.confidence, columns.correct, columns.group)
    taken = {*filter(None, (*roles, columns.looked_for, columns.split))}
    taken |= {each.column for each in (*columns.scores, *columns.one_hot)}
    lengths = {name: len(table.columns[name]) for name in table.columns if name in taken}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length:,}" for name, length in lengths.items())
        raise PredictionsRefused(f"{table.source}: the arrays differ in length: {said} rows")
    rows = next(iter(lengths.values()), table.rows)
    kept = {name: cells for name, cells in table.columns.items() if len(cells) == rows}
    return replace(table, columns=kept)
