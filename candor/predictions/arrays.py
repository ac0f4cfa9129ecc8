"""Predictions in arrays of any library: lists, NumPy, data frames, tensors.

`candor.measure` and `candor.calibrate` read the same here. Rows without a label or with a missing
value are left out, and said.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from calibration.grouping import NO_GROUP
from calibration.wording import parameter
from candor.predictions.columns import Kind
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import Predictions, ReadingOptions
from candor.predictions.reading import read_predictions, understood
from candor.predictions.table import ColumnTable, RowsRead

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


def kind_of(*, logits: bool, percent: bool) -> Kind | None:
    """What scores are said to be. Raises PredictionsRefused if they are said to be both."""
    if logits and percent:
        either = " or ".join(parameter(each, True) for each in ("logits", "percent"))
        raise PredictionsRefused(f"scores are either {either}")
    return "logits" if logits else "percent" if percent else None


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
