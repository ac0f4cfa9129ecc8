"""Predictions in arrays of any library: lists, NumPy, data frames, tensors.

`candor.measure` and `candor.calibrate` read the same here. Rows without a label or with a missing
value are left out, and said.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, FloatArray
from candor.predictions.archive import as_codes, class_names, one_column
from candor.predictions.collected import Collected, numbers
from candor.predictions.columns import ColumnWishes, TableColumns
from candor.predictions.errors import PredictionsRefused
from candor.predictions.findings import interpret_cells
from candor.predictions.labeled import Predictions, ReadingOptions
from candor.predictions.parameters import in_python
from candor.predictions.reading import read_predictions

_BINS_LIMIT: Final = 1_000


class Reading(TypedDict, total=False):
    """How arrays are read: the arguments that `candor.measure` and `candor.calibrate` share."""

    logits: bool
    normalize: bool
    classes: Sequence[str] | None
    groups: npt.ArrayLike | None
    exclusive: bool
    bins: int


def read_arrays(
    probabilities: npt.ArrayLike | os.PathLike[str],
    labels: npt.ArrayLike | None,
    *,
    logits: bool = False,
    normalize: bool = False,
    classes: Sequence[str] | None = None,
    groups: npt.ArrayLike | None = None,
    findings: str | None = None,
    exclusive: bool = False,
    bins: int = BIN_COUNT,
) -> Predictions:
    """Read predictions and their truths; the arguments are those of `candor.calibrate`.

    Raises PredictionsRefused: what is wrong with the arrays or the table, in a sentence.
    """
    if not isinstance(bins, int | np.integer) or not 1 <= bins <= _BINS_LIMIT:
        raise PredictionsRefused(
            f"`bins` must be a whole number from 1 to {_BINS_LIMIT}; got {bins!r}"
        )
    chosen = tuple(map(str, classes)) if classes is not None else None
    is_file = isinstance(probabilities, str | os.PathLike)
    wishes = ColumnWishes(
        label=None if labels is None or not is_file else str(labels),
        group=None if groups is None or not is_file else str(groups),
        kind="logits" if logits else None if is_file else "probabilities",
    )
    options = ReadingOptions(
        wishes=wishes, classes=chosen, normalize=normalize, findings=findings, exclusive=exclusive
    )
    try:
        if isinstance(probabilities, str | os.PathLike):
            return read_predictions(Path(probabilities), options)
        if labels is None:
            raise PredictionsRefused("labels are missing: give them after the probabilities")
        _require_one_index(probabilities, labels=labels, groups=groups)
        found = _collected(probabilities, labels, groups, chosen)
        return interpret_cells(found, TableColumns(), options)
    except PredictionsRefused as refused:
        raise PredictionsRefused(in_python(str(refused))) from None


def _collected(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike | None,
    classes: tuple[str, ...] | None,
) -> Collected:
    scores = _numbers(as_array(probabilities, "probabilities"), "probabilities")
    truth = as_array(labels, "labels")
    found = Collected(scores=scores, rows=len(scores))
    found.score_names = _names(probabilities, scores.shape[1]) if classes is None else classes
    if len(found.score_names) != scores.shape[1]:  # refused, or the two classes of one column
        found.score_names = class_names(scores.shape[1])
    if truth.ndim == 2 and truth.shape[1] > 1:
        found.one_hot = _numbers(truth, "labels")
        found.one_hot_names = _names(labels, truth.shape[1], default=found.score_names)
        _require_rows(len(truth), len(scores), "labels")
    else:
        found.labels = as_codes(_column(truth, len(scores), "labels"), found.classes)
    if groups is not None:
        column = _column(as_array(groups, "groups"), len(scores), "groups")
        found.groups = as_codes(column, found.group_names)
    return found


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


def _numbers(values: npt.NDArray[Any], name: str) -> FloatArray:
    """Values (N, K) or (N,) as (N, K), NaN where missing."""
    if values.ndim not in (1, 2):
        raise PredictionsRefused(
            f"{name} must be numbers of shape (N, K) or (N,); got {values.dtype} {values.shape}"
        )
    table = values[:, np.newaxis] if values.ndim == 1 else values
    if table.dtype.kind in "fiub":
        return table.astype(np.float64)
    if not table.size:
        return np.zeros(table.shape)
    return np.stack([numbers(column.tolist(), name, 1) for column in table.T], axis=1)


def _names(values: Any, count: int, *, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Names of the columns of a data frame, whichever library made it."""
    named = getattr(values, "columns", None)
    if named is not None and len(named) == count:
        return tuple(map(str, named))
    return class_names(count) if default is None or len(default) != count else default


def _column(values: npt.NDArray[Any], count: int, name: str) -> npt.NDArray[Any]:
    flat = one_column(values, name)
    _require_rows(len(flat), count, name)
    return flat


def _require_rows(found: int, count: int, name: str) -> None:
    if found != count:
        raise PredictionsRefused(
            f"{name} must be of shape ({count},), one for each row; there are {found}"
        )


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
