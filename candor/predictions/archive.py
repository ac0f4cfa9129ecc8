"""Predictions in a NumPy archive (`.npz`): `probabilities` or `logits`, `labels`.

Nothing is unpickled. An archive is looked at before it is unpacked, so that a small file cannot
become a large one.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.predictions.collected import Codes, Collected, require_room
from candor.predictions.columns import ColumnWishes, TableColumns, find_columns
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import CELLS_LIMIT

_CLASSES = ("classes", "class_names", "names")
_BYTES_LIMIT = 8 * CELLS_LIMIT


def collect_archive(file: Path, wishes: ColumnWishes) -> tuple[TableColumns, Collected]:
    """Read an archive. Raises PredictionsRefused, ColumnsUnclear, OSError."""
    names = _names(file)
    columns = find_columns([name for name in names if name not in _CLASSES], wishes)
    wanted = _wanted(columns)
    arrays = _read(file, [*wanted.values(), *(name for name in _CLASSES if name in names)])
    if "scores" not in wanted and "predicted" in wanted and arrays[wanted["predicted"]].ndim == 2:
        wanted["scores"] = wanted.pop("predicted")  # y_pred with a column per class
    found = Collected()
    for role, name in wanted.items():
        _place(found, role, arrays[name], name)
    lengths = {name: len(arrays[name]) for name in wanted.values()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length:,}" for name, length in lengths.items())
        raise PredictionsRefused(f"{file}: the arrays differ in length: {said} rows")
    found.rows = next(iter(lengths.values()), 0)
    if found.scores is not None:
        found.score_names = _class_names(arrays, found.scores.shape[1])
    return columns, found


def as_codes(array: npt.NDArray[Any], codes: Codes) -> npt.NDArray[np.int64]:
    """Codes (N,) of an array of texts or numbers; -1 where missing."""
    if array.dtype.kind == "O":
        return codes.of(array.tolist())
    array = array.astype(np.int64) if array.dtype.kind == "b" else array
    values, index = np.unique(array, return_inverse=True)
    return codes.of(values.tolist())[index]


def _names(file: Path) -> list[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(each.file_size for each in archive.infolist())
            names = [each.filename.removesuffix(".npy") for each in archive.infolist()]
    except zipfile.BadZipFile as error:
        raise PredictionsRefused(f"{file} is no NumPy archive ({error})") from None
    require_room(file, size // 8 if size > _BYTES_LIMIT else 0)
    return names


def _wanted(columns: TableColumns) -> dict[str, str]:
    if len(columns.scores) > 1:
        names = ", ".join(each.column for each in columns.scores)
        raise PredictionsRefused(
            f"the arrays {names} could each hold the scores: name one, with --probabilities or "
            "--logits, and its labels with --label"
        )
    roles = {
        "labels": columns.label,
        "predicted": columns.predicted,
        "confidence": columns.confidence,
        "correct": columns.correct,
        "groups": columns.group,
        "scores": columns.vector or (columns.scores[0].column if columns.scores else None),
    }
    return {role: name for role, name in roles.items() if name is not None}


def _read(file: Path, names: list[str]) -> dict[str, npt.NDArray[Any]]:
    found = {}
    for name in names:
        try:
            with np.load(file, allow_pickle=False) as archive:
                found[name] = np.asarray(archive[name])
        except (
            ValueError,
            KeyError,
            EOFError,
            MemoryError,
            SyntaxError,
            zlib.error,
            zipfile.BadZipFile,
        ) as error:
            why = (
                "it holds Python objects, which are not opened"
                if "allow_pickle" in str(error)
                else str(error)
            )
            raise PredictionsRefused(f"{file}: the array {name!r} cannot be read: {why}") from None
    return found


def _place(found: Collected, role: str, array: npt.NDArray[Any], name: str) -> None:
    if role == "labels" and array.ndim == 2 and array.shape[1] > 1:
        found.one_hot = _floats(array, name)
        found.one_hot_names = class_names(array.shape[1])
        return
    if role == "scores":
        found.scores = _floats(array.reshape(len(array), 1) if array.ndim == 1 else array, name)
        if found.scores.ndim != 2:
            raise PredictionsRefused(
                f"the array {name!r} must be (N, K) or (N,); got {array.shape}"
            )
        return
    flat = one_column(array, f"the array {name!r}")
    if role in ("confidence", "correct"):
        setattr(found, role, _floats(flat, name))
    else:
        setattr(
            found, role, as_codes(flat, found.group_names if role == "groups" else found.classes)
        )


def one_column(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Return an array (N,) or (N, 1) as (N,). Raises PredictionsRefused for another shape."""
    flat = array.reshape(len(array)) if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1:
        raise PredictionsRefused(f"{name} must be of shape (N,); got {array.shape}")
    return flat


def class_names(count: int) -> tuple[str, ...]:
    """Return the names of `count` columns that have none; a single one is of an unknown class."""
    return ("",) if count == 1 else tuple(map(str, range(count)))


def _floats(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.float64]:
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise PredictionsRefused(
            f"the array {name!r} must hold numbers; got {array.dtype} {array.shape}"
        )
    return array.astype(np.float64)


def _class_names(arrays: dict[str, npt.NDArray[Any]], count: int) -> tuple[str, ...]:
    named = next((arrays[name] for name in _CLASSES if name in arrays), None)
    if named is None or count == 1:
        return class_names(count)
    if named.shape != (count,):
        raise PredictionsRefused(
            f"the archive names {named.size} classes for {count} columns of scores"
        )
    return tuple(map(str, named.tolist()))
