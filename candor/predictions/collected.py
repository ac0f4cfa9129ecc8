"""The cells of a table or archive as arrays, before anything is said about what they mean."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from calibration.findings.labels import read_cell
from candor.predictions.columns import ClassColumn, TableColumns
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import CELLS_LIMIT
from candor.predictions.row_groups import group_of

_CHUNK = 20_000
_MISSING = {"", "na", "<na>", "n/a", "#n/a", "nan", "null"}
# missing where a number is expected; a class may be called "none"
_NO_NUMBER = {"none", "-", "?", "."}
# 1,234.5 or 1.234,5: thousands, and after another sign the decimals
_GROUPED = re.compile(
    r"([-+]?\d{1,3}(?:([,.'\u2019 \u00a0\u202f])\d{3})(?:\2\d{3})*)(?!\2)[.,](\d+)"
)
_YES = {"1", "1.0", "true", "yes", "t", "y", "right", "correct"}
_NO = {"0", "0.0", "false", "no", "f", "n", "wrong", "incorrect"}


@dataclass
class Codes:
    """Texts as numbers: `names[code]`; -1 for a missing one."""

    names: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def of(self, values: Sequence[Any]) -> IntArray:
        """Return the code of each value, (n,)."""
        return np.fromiter(
            (self._code(value) for value in values), dtype=np.int64, count=len(values)
        )

    def _code(self, value: Any) -> int:
        text = as_text(value)
        if text is None:
            return -1
        if text not in self._known:
            self._known[text] = len(self.names)
            self.names.append(text)
        return self._known[text]


@dataclass(kw_only=True)
class Collected:
    """Cells as arrays of N rows; what the table lacks is None.

    Attributes:
        scores: (N, K) numbers, NaN where missing; `score_names`: (K,) what the columns say of their
        classes. labels, predicted: codes in `classes`; `one_hot`: (N, L) numbers, of the classes
        `one_hot_names`.
        confidence: (N,) numbers; `correct`: (N,) 0, 1 or NaN.
        groups: codes in `group_names`.
        ids: (N, I) texts of the columns `id_names`, if they were asked for.
    """

    scores: FloatArray | None = None
    score_names: tuple[str, ...] = ()
    classes: Codes = field(default_factory=Codes)
    labels: IntArray | None = None
    predicted: IntArray | None = None
    one_hot: FloatArray | None = None
    one_hot_names: tuple[str, ...] = ()
    looked_for_names: Codes = field(default_factory=Codes)
    looked_for: IntArray | None = None
    confidence: FloatArray | None = None
    correct: FloatArray | None = None
    group_names: Codes = field(default_factory=Codes)
    groups: IntArray | None = None
    id_names: tuple[str, ...] = ()
    ids: npt.NDArray[np.object_] | None = None
    rows: int = 0


def collect(
    file: Path, rows: Iterable[Mapping[str, Any]], columns: TableColumns, *, with_ids: bool = False
) -> Collected:
    """Read the rows of a table in chunks. Raises PredictionsRefused and what the rows raise."""
    found = Collected(one_hot_names=tuple(each.name for each in columns.one_hot))
    if with_ids:
        found.id_names = (*columns.ids, *([columns.group] if columns.group else []))
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    iterator = iter(rows)
    while chunk := list(islice(iterator, _CHUNK)):
        for name, values in _arrays(chunk, columns, found).items():
            parts.setdefault(name, []).append(values)
        found.rows += len(chunk)
        require_room(file, sum(each.size for pieces in parts.values() for each in pieces))
    for name, pieces in parts.items():
        setattr(found, name, np.concatenate(pieces))
        pieces.clear()
    return found


def require_room(source: object, cells: int) -> None:
    """Refuse what would not fit into memory."""
    if cells > CELLS_LIMIT:
        raise PredictionsRefused(
            f"{source} holds more than {CELLS_LIMIT:,} numbers, which is the limit. Draw a random "
            "sample of its rows, or of its patients: the figures hardly change"
        )


def _arrays(
    chunk: Sequence[Mapping[str, Any]], columns: TableColumns, found: Collected
) -> dict[str, npt.NDArray[Any]]:
    first = found.rows + 1
    arrays: dict[str, npt.NDArray[Any]] = {}
    if columns.vector:
        arrays["scores"] = _vectors(chunk, columns.vector, found, first)
    elif columns.scores:
        found.score_names = tuple(each.name for each in columns.scores)
        arrays["scores"] = _matrix(chunk, columns.scores, first)
    if columns.one_hot:
        arrays["one_hot"] = np.stack(
            [
                marks([row.get(each.column) for row in chunk], each.column, first)
                for each in columns.one_hot
            ],
            axis=1,
        )
    if columns.looked_for:
        arrays["looked_for"] = found.looked_for_names.of(
            [row.get(columns.looked_for) for row in chunk]
        )
    for name, column in (("labels", columns.label), ("predicted", columns.predicted)):
        if column:
            arrays[name] = found.classes.of([row.get(column) for row in chunk])
    if columns.confidence:
        arrays["confidence"] = numbers(
            [row.get(columns.confidence) for row in chunk], columns.confidence, first
        )
    if columns.correct:
        arrays["correct"] = _truths(
            [row.get(columns.correct) for row in chunk], columns.correct, first
        )
    if columns.group:
        arrays["groups"] = found.group_names.of([group_of(row, columns) for row in chunk])
    if found.id_names:
        arrays["ids"] = np.array(
            [[_cell(row.get(name)) for name in found.id_names] for row in chunk], dtype=object
        )
    return arrays


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _matrix(
    chunk: Sequence[Mapping[str, Any]], columns: Sequence[ClassColumn], first: int
) -> FloatArray:
    return np.stack(
        [numbers([row.get(each.column) for row in chunk], each.column, first) for each in columns],
        axis=1,
    )


def numbers(values: Sequence[Any], column: str, first: int) -> FloatArray:
    """Return cells as numbers, NaN for missing ones. Raises PredictionsRefused for text."""
    try:
        return np.array(["nan" if value is None else value for value in values], dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return np.array(
            [_number(value, column, first + place) for place, value in enumerate(values)]
        )


def marks(values: Sequence[Any], column: str, first: int) -> FloatArray:
    """Return labels as 1, 0, -1 (uncertain), or NaN for unknown. Raises PredictionsRefused."""
    read = [read_cell(as_text(value) or "") for value in values]
    if None in read:
        place = read.index(None)
        raise PredictionsRefused(
            f"row {first + place:,}, column {column!r}: {str(values[place])[:40]!r} is no label; "
            "expected 1, 0, -1 (uncertain) or blank (unknown)"
        )
    return np.array(read, dtype=np.float64)


def _number(value: Any, column: str, row: int) -> float:
    text = as_text(value)
    if text is None or text.casefold() in _NO_NUMBER:
        return float("nan")
    plain = text.removesuffix("%").strip()
    if re.fullmatch(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?", plain):  # a decimal comma
        plain = plain.replace(",", ".")
    elif grouped := _GROUPED.fullmatch(plain):
        plain = re.sub(r"[^-+\d]", "", grouped[1]) + "." + grouped[3]
    try:
        return float(plain) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise PredictionsRefused(
            f"row {row:,}, column {column!r}: {text[:40]!r} is no number; correct it, or delete "
            "the row if it is no prediction"
        ) from None


def _truths(values: Sequence[Any], column: str, first: int) -> FloatArray:
    found = np.full(len(values), np.nan)
    for place, value in enumerate(values):
        text = as_text(value)
        if text is None:
            continue
        if text.casefold() not in _YES | _NO:
            raise PredictionsRefused(
                f"row {first + place:,}, column {column!r}: {text[:40]!r} does not say whether the "
                "answer was right; expected 1 or 0, true or false"
            )
        found[place] = text.casefold() in _YES
    return found


def _vectors(
    chunk: Sequence[Mapping[str, Any]], column: str, found: Collected, first: int
) -> FloatArray:
    rows = []
    for place, row in enumerate(chunk):
        vector = _vector(row.get(column), column, first + place)
        if not found.score_names and vector:
            found.score_names = tuple(vector)
        if vector and len(vector) != len(found.score_names):
            raise PredictionsRefused(
                f"row {first + place:,}: {column!r} has {len(vector)} values; the rows before have "
                f"{len(found.score_names)}"
            )
        missing = [name for name in found.score_names if vector and name not in vector]
        if missing:
            raise PredictionsRefused(
                f"row {first + place:,}: {column!r} has no value for the class {missing[0]!r}"
            )
        rows.append([vector.get(name) for name in found.score_names])
    width = len(found.score_names)
    wide = [row if len(row) == width else [None] * width for row in rows]
    if not width:
        return np.full((len(chunk), 0), np.nan)
    return np.stack(
        [numbers([row[k] for row in wide], column, first) for k in range(width)], axis=1
    )


def _vector(value: Any, column: str, row: int) -> dict[str, Any]:
    if isinstance(value, str):
        if as_text(value) is None:
            return {}
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = _printed(value)
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items()}
    if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        return {str(each.get("label")): each.get("score") for each in value}  # of a pipeline
    if isinstance(value, list | tuple):
        return {str(place): each for place, each in enumerate(value)}
    if value is None:
        return {}
    raise PredictionsRefused(f"row {row:,}: {column!r} is no list of scores")


def _printed(text: str) -> Any:
    """A vector as Python, NumPy or PyTorch prints it.

    >>> _printed("{'ill': 0.9}"), _printed("[0.25 0.75]"), _printed("tensor([0.25, 0.75])")
    ({'ill': 0.9}, ['0.25', '0.75'], ['0.25', '0.75'])
    """
    with suppress(ValueError):
        return json.loads(text.replace("'", '"'))
    return re.sub(r"^(array|tensor)|[\[\](),;]", " ", text).split()


def as_text(value: Any) -> str | None:
    """A cell as text; None if it is missing. A whole number is written without decimals.

    >>> [as_text(cell) for cell in (" lung ", 1.0, "2.0", "n/a", True, 1234567.0)]
    ['lung', '1', '2', None, 'True', '1234567']
    """
    if value is None:
        return None
    if isinstance(value, float | np.floating):
        return (
            None
            if np.isnan(value)
            else str(int(value))
            if float(value).is_integer()
            else str(value)
        )
    text = str(value).strip()
    if text.casefold() in _MISSING:
        return None
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdecimal() else text
