"""True labels as one column of 1 and 0 for each class or finding."""

import numpy as np

from calibration.bins import FloatArray
from candor.predictions.cells import as_text, marks
from candor.predictions.columns import TableColumns
from candor.predictions.errors import PredictionsRefused, rows_listed
from candor.predictions.table import ColumnTable


def label_columns(
    table: ColumnTable, columns: TableColumns
) -> tuple[tuple[str, ...], FloatArray] | None:
    """Return what the columns are about, and the cells (N, L) as 1, 0, -1 or NaN; None without."""
    if columns.one_hot:
        read = [marks(table.cells(each.column), each.column) for each in columns.one_hot]
        return tuple(each.name for each in columns.one_hot), np.stack(read, axis=1)
    if columns.label is not None and table.is_wide(columns.label):
        return table.wide(columns.label)
    return None


def class_labels(table: ColumnTable, columns: TableColumns) -> list[str] | None:
    """The class of each row, empty for rows without one; None if no column says it.

    Raises PredictionsRefused: a row has not a single 1.
    """
    found = label_columns(table, columns)
    if found is None:
        return None if columns.label is None else table.texts(columns.label)
    names, values = found
    empty = np.isnan(values).all(axis=1)
    one = np.nan_to_num(values)
    wrong = ~empty & ((one.sum(axis=1) != 1) | (one.max(axis=1) != 1))
    if wrong.any():
        raise PredictionsRefused(
            "columns of true labels must have a single 1 in each row; "
            f"{rows_listed(np.flatnonzero(wrong) + 1)} have not"
        )
    places = np.where(empty, -1, one.argmax(axis=1)).tolist()
    return [as_text(names[place]) if place >= 0 else "" for place in places]
