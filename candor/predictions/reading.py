"""Labeled predictions from files and arrays of any library: lists, NumPy, data frames, tensors.

`candor.measure` and `candor.calibrate` read the same here. Rows without a label or with a missing
value are left out, and said.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT
from calibration.findings.labels import SEPARATOR
from calibration.grouping import NO_GROUP
from calibration.measures.summary import Measures
from calibration.wording import counted, parameter
from candor.predictions.cells import composed
from candor.predictions.columns import ColumnWishes, Kind, TableColumns, find_columns, is_score
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


_BINS_LIMIT: Final = 1_000
_SCORES, _LABEL, _GROUP = "probabilities", "label", "group"


def read_arrays(
    probabilities: npt.ArrayLike | os.PathLike[str],
    labels: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
    options: ReadingOptions,
    *,
    progress: RowsRead | None = None,
) -> Predictions:
    """Read predictions and their truths; the arguments are those of `candor.calibrate`.

    Raises PredictionsRefused: what is wrong with the arrays or the table, in a sentence.
    """
    wishes = options.wishes
    if isinstance(probabilities, str | os.PathLike):
        label, group = (None if each is None else str(each) for each in (labels, groups))
        read = replace(options, wishes=replace(wishes, label=label, group=group))
        return read_predictions(Path(probabilities), read, progress=progress)
    if wishes.names_columns:
        raise PredictionsRefused(
            f"{parameter(wishes.names_columns[0])} names a column of a file; these are arrays"
        )
    if labels is None:
        raise PredictionsRefused("labels are missing: give them after the probabilities")
    _require_one_index(probabilities, labels=labels, groups=groups)
    table = _table(probabilities, labels, groups, options.classes)
    grouped = NO_GROUP if groups is None else _GROUP
    own = replace(wishes, label=_LABEL, scores=_SCORES, group=grouped)
    return understood(table, replace(options, wishes=own))


def require_bins(bins: int) -> int:
    """Return the number of bins. Raises PredictionsRefused if it is none."""
    if not isinstance(bins, int | np.integer) or not 1 <= bins <= _BINS_LIMIT:
        raise PredictionsRefused(
            f"`bins` must be a whole number from 1 to {_BINS_LIMIT}; got {bins!r}"
        )
    return int(bins)


def reading_options(
    *,
    logits: bool = False,
    percent: bool = False,
    classes: str | Sequence[str] | None = None,
    positive: str | None = None,
    normalize: bool = False,
    findings: str | None = None,
    exclusive: bool = False,
    **columns: str | None,
) -> ReadingOptions:
    """What the arguments of `candor.calibrate` say. Raises PredictionsRefused: logits and percent.

    `columns` are those of ColumnWishes.
    """
    if logits and percent:
        either = " or ".join(parameter(each, True) for each in ("logits", "percent"))
        raise PredictionsRefused(f"scores are either {either}")
    kind: Kind | None = "logits" if logits else "percent" if percent else None
    names = classes.split(",") if isinstance(classes, str) else classes
    return ReadingOptions(
        wishes=ColumnWishes(kind=kind, **columns),
        classes=None if names is None else tuple(str(name).strip() for name in names),
        positive=positive,
        normalize=normalize,
        findings=findings,
        exclusive=exclusive,
    )


def as_array(values: Any, name: str) -> npt.NDArray[Any]:
    """As NumPy; a tensor of PyTorch without its gradient, from wherever it is."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values  # NumPy has no bfloat16
    if isinstance(values, np.ma.MaskedArray):
        plain = np.array(values.data, dtype=object)
        plain[np.ma.getmaskarray(values)] = None
        values = plain
    try:
        return np.asarray(values)
    except ValueError:
        raise PredictionsRefused(f"{name} must be an array: its rows differ in length") from None


def _table(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike | None,
    classes: tuple[str, ...] | None,
) -> ColumnTable:
    scores, truth = as_array(probabilities, _SCORES), as_array(labels, "labels")
    if scores.ndim not in (1, 2):
        raise PredictionsRefused(
            f"probabilities must be numbers of shape (N, K) or (N,); got {scores.dtype} "
            f"{scores.shape}"
        )
    if not len(scores):
        raise PredictionsRefused("the arrays have no rows")
    columns = {_SCORES: scores, _LABEL: _rows(truth, len(scores), "labels")}
    if groups is not None:
        columns[_GROUP] = _rows(as_array(groups, "groups"), len(scores), "groups")
        if columns[_GROUP].size != len(scores):
            raise PredictionsRefused(f"groups must be of shape ({len(scores)},)")
    called = {}
    names = _names(probabilities) or (classes if classes and scores.ndim == 2 else None)
    if names is not None and scores.ndim == 2 and len(names) == scores.shape[1]:
        called[_SCORES] = names
    of_labels = _names(labels) or (called.get(_SCORES) if truth.ndim == 2 else None)
    if of_labels is not None and truth.ndim == 2 and len(of_labels) == truth.shape[1]:
        called[_LABEL] = of_labels
    return ColumnTable("the table of arrays", columns, called)


def _names(values: Any) -> tuple[str, ...] | None:
    """Names of the columns of a data frame, whichever library made it."""
    named = getattr(values, "columns", None)
    return None if named is None else tuple(map(str, named))


def _rows(values: npt.NDArray[Any], count: int, name: str) -> npt.NDArray[Any]:
    if values.ndim == 0 or len(values) != count:
        found = 0 if values.ndim == 0 else len(values)
        raise PredictionsRefused(
            f"{name} must be of shape ({count},), one for each row; there are {found}"
        )
    return values


def _require_one_index(probabilities: object, **others: object) -> None:
    """Refuse rows of data frames that are named otherwise: they may be in another order."""
    index: Any = getattr(probabilities, "index", None)
    for name, values in others.items():
        other: Any = getattr(values, "index", None)
        both = hasattr(index, "equals") and hasattr(other, "equals")
        if both and not index.equals(other):
            raise PredictionsRefused(
                f"the index of {name} is not that of the probabilities: sort one like the other, "
                "or pass .to_numpy() if their rows belong together as they are"
            )


def measure(
    probabilities: npt.ArrayLike | PathLike[str],
    labels: npt.ArrayLike | None = None,
    *,
    logits: bool = False,
    percent: bool = False,
    normalize: bool = False,
    classes: Sequence[str] | None = None,
    groups: npt.ArrayLike | None = None,
    findings: str | None = None,
    exclusive: bool = False,
    bins: int = BIN_COUNT,
) -> Measures | Any:
    """Measure how calibrated and how accurate predictions are, as `candor.calibrate` does.

    Args:
        probabilities: and all others: those of `candor.calibrate`. Rows without a label or with a
            missing value are left out, with a warning; intervals and floor know `groups`.

    Returns:
        Every measure, the ECE with its 95 % interval (`ece_lower`, `ece_upper`) and its floor: the
        ECE that a perfectly calibrated model would show on so many labels (`noise_floor`).
        FindingsMeasures if columns are findings.

    Raises:
        ValueError: what is wrong with the arrays, in a sentence.

    >>> # 80 % confident, right 60 % of the time
    >>> found = measure([[0.2, 0.8]] * 10, [1] * 6 + [0] * 4)
    >>> print(f"ECE {found.ece:.2f}, 95 % interval {found.ece_lower:.2f} to {found.ece_upper:.2f}")
    ECE 0.20, 95 % interval 0.00 to 0.50
    """
    options = reading_options(
        logits=logits,
        percent=percent,
        classes=classes,
        normalize=normalize,
        findings=findings,
        exclusive=exclusive,
    )
    read = read_arrays(probabilities, labels, groups, options)
    for sentence in read.left_out:
        warnings.warn(sentence, stacklevel=2)
    return read.measured(require_bins(bins))
