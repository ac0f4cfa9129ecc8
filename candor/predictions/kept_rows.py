"""The rows that count: those with a label and values, and none that the model was trained on."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from calibration.bins import IntArray
from calibration.grouping import NO_GROUP
from calibration.splits import COLUMN as SPLIT
from calibration.splits import SPLITS, Split, read_splits
from calibration.wording import counted, parameter
from candor.predictions.cells import as_text
from candor.predictions.columns import TableColumns
from candor.predictions.errors import PredictionsRefused, rows_listed
from candor.predictions.row_groups import group_of
from candor.predictions.table import ColumnTable

TRAINED: Final = {word for word, split in SPLITS.items() if split == "train"}
BoolArray = npt.NDArray[np.bool_]


def kept_rows(
    table: ColumnTable,
    columns: TableColumns,
    *,
    unlabeled: BoolArray | None,
    missing: BoolArray,
) -> tuple[BoolArray, dict[str, Any]]:
    """Return the rows that count (N,), and what is to be said of those.

    That are the fields that `LabeledPredictions` and `LabeledFindings` share. `unlabeled` (N,) is
    None if labels are not needed; then rows keep their ids. `missing` (N,) lack a score.

    Raises PredictionsRefused: no row counts, a row has no group or no split, or a group is in two
    splits.
    """
    left_out: list[str] = []
    kept, judging = np.ones(table.rows, dtype=bool), None
    if unlabeled is not None:
        splits = _splits(table, columns)
        trained = np.array([split == "train" for split in splits], dtype=bool)
        _leave(kept, trained, left_out, "of the split train")
        _leave(kept, unlabeled, left_out, "without a label")
        tests = np.array([split == "test" for split in splits], dtype=bool) & kept
        judging = tests if (kept & ~tests).any() and tests.any() else None
    _leave(kept, missing, left_out, "with a missing value")
    if not kept.any():
        raise PredictionsRefused(
            f"no row has {'values' if unlabeled is None else 'both a label and its probabilities'}"
            f"{''.join(f'. {note}' for note in left_out)}"
        )
    groups = _groups(table, columns)
    if groups is not None and unlabeled is not None:
        if (groups < 0).any():
            raise PredictionsRefused(
                f"{_rows(groups < 0)} name no group: fill the column, or give "
                f"{parameter('groups', NO_GROUP)} if each row stands alone"
            )
        _require_apart(groups[kept], None if judging is None else judging[kept])
    id_names = () if unlabeled is not None else (*columns.ids, *filter(None, [columns.group]))
    return kept, {
        "groups": None if groups is None else groups[kept],
        "judging": None if judging is None else judging[kept],
        "rows": np.flatnonzero(kept) + 1,
        "id_names": id_names,
        "ids": _ids(table, id_names)[kept] if unlabeled is None else None,
        "taken": tuple(columns.described()),
        "left_out": tuple(left_out),
    }


def _leave(kept: BoolArray, rows: BoolArray, left_out: list[str], why: str) -> None:
    if (rows & kept).any():
        left_out.append(
            f"{counted(int((rows & kept).sum()), 'row')} {why} left out: {_rows(rows & kept)}."
        )
    kept &= ~rows


def _splits(table: ColumnTable, columns: TableColumns) -> Sequence[Split | None]:
    if columns.split is None:
        _refuse_unnamed_split(table, columns)
        return [None] * table.rows
    try:
        splits = read_splits(table.texts(columns.split))
    except ValueError as error:
        raise PredictionsRefused(str(error)) from None
    if splits is None:
        return [None] * table.rows
    blank = np.array([split is None for split in splits])
    if blank.any() and not blank.all():
        raise PredictionsRefused(
            f"{_rows(blank)} have no split: fill the column {columns.split!r}, or rename it"
        )
    return splits


def _refuse_unnamed_split(table: ColumnTable, columns: TableColumns) -> None:
    for name, texts in table.plain(columns.unused).items():
        words = {text.strip().casefold() for text in set(texts)}
        if words & TRAINED and words <= SPLITS.keys() | {""}:
            raise PredictionsRefused(
                f"the column {name!r} says that rows are of training: rename it to {SPLIT!r}, so "
                "that they are left out, or delete it if the model was not trained on them"
            )


def _groups(table: ColumnTable, columns: TableColumns) -> IntArray | None:
    if columns.group is None:
        return None
    cells = ({columns.group: cell} for cell in table.cells(columns.group))
    names = [as_text(group_of(cell, columns)) for cell in cells]
    numbers = {name: number for number, name in enumerate(filter(None, dict.fromkeys(names)))}
    return np.array([numbers.get(name, -1) for name in names], np.int64)


def _require_apart(groups: IntArray, judging: BoolArray | None) -> None:
    if judging is not None and np.intersect1d(groups[judging], groups[~judging]).size:
        raise PredictionsRefused(
            "a group has rows in the split test and in another one: a calibrator would be judged "
            "on patients that it has seen. Correct the column `split`, or delete it"
        )


def _ids(table: ColumnTable, names: Sequence[str]) -> npt.NDArray[np.object_]:
    cells = [["" if cell is None else str(cell) for cell in table.cells(name)] for name in names]
    return np.array(cells, dtype=object).T.reshape(table.rows, len(names))


def _rows(where: BoolArray) -> str:
    return rows_listed(np.flatnonzero(where) + 1)
