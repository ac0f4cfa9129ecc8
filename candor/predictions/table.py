"""A table of columns, whatever it was read from: text, Parquet, an `.npz`, or arrays.

A file is read once; uploads read its rows. Nothing is unpickled, and an archive is looked at before
it is unpacked, so that a small file cannot become a large one.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.strict_json import read_json
from candor.predictions.cells import as_text, composed, numbers
from candor.predictions.errors import PredictionsRefused
from model_store.csv_tables import NotCsv, open_csv, require_distinct
from model_store.installation import install_command

CELLS_LIMIT = 60_000_000  # numbers held at once: half a gigabyte
_TEXT: Final = 8  # a text takes as much room as so many numbers
_CHUNK: Final = 20_000
_CLASSES: Final = "classes"  # in an archive: what the columns of scores are called
_UNREADABLE: Final = (ValueError, KeyError, EOFError, MemoryError, SyntaxError, zlib.error)
RowsRead = Callable[[str, int, int], None]  # file, rows read, about how many there are


@dataclass
class ColumnTable:
    """Columns of N rows.

    Attributes:
        source: what it is called in sentences.
        columns: by name, N cells each (None where missing), or an array (N,) or (N, K).
        called: what the K columns of such an array are called; by number if they have no names.
    """

    source: str
    columns: dict[str, Any]
    called: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """N."""
        return len(next(iter(self.columns.values()), ()))

    def is_wide(self, name: str) -> bool:
        """Whether each row of a column has values of all classes."""
        cells = self.columns[name]
        if isinstance(cells, np.ndarray):
            return cells.ndim == 2 and cells.shape[1] > 1
        return _hold_lists(cells)

    def wide(self, name: str) -> tuple[tuple[str, ...], FloatArray]:
        """The classes and the values (N, K) of such a column; NaN where missing."""
        cells = self.columns[name]
        if isinstance(cells, np.ndarray):
            columns = [self._array(part, name) for part in cells.T]
            plain = tuple(map(str, range(len(columns))))
            return self.called.get(name, plain), np.stack(columns, axis=1)
        rows = [_by_class(cell, name, row) for row, cell in enumerate(cells, 1)]
        classes = tuple(next((row for row in rows if row), {}))
        for number, row in enumerate(rows, 1):
            if row and row.keys() != set(classes):
                raise PredictionsRefused(
                    f"row {number:,}: {name!r} has values of {', '.join(row)[:80]}; the rows "
                    f"before have {', '.join(classes)[:80]}"
                )
        parts = [numbers([row.get(each) for row in rows], name) for each in classes]
        return classes, np.stack(parts, axis=1) if parts else np.full((len(rows), 0), np.nan)

    def numbers(self, name: str) -> FloatArray:
        """The column as numbers (N,). Raises PredictionsRefused."""
        cells = self.columns[name]
        is_array = isinstance(cells, np.ndarray)
        return self._array(self._flat(name), name) if is_array else numbers(cells, name)

    def cells(self, name: str) -> Sequence[Any]:
        """The column's cells (N,). Raises PredictionsRefused if a row has several."""
        cells = self.columns[name]
        if not isinstance(cells, np.ndarray):
            return list(cells)
        flat = self._flat(name)
        flat = flat.astype(np.int64) if flat.dtype.kind == "b" else flat
        return list(flat.tolist())

    def texts(self, name: str) -> list[str]:
        """The column's cells as text, empty where missing."""
        return [as_text(cell) for cell in self.cells(name)]

    def plain(self, names: Iterable[str]) -> dict[str, list[str]]:
        """The texts of those of the columns that have one cell in each row."""
        there = (name for name in names if name in self.columns and not self.is_wide(name))
        return {name: self.texts(name) for name in there}

    def _flat(self, name: str) -> npt.NDArray[Any]:
        array = self.columns[name]
        flat = array.reshape(len(array)) if array.ndim == 2 and array.shape[1] == 1 else array
        if flat.ndim != 1:
            raise PredictionsRefused(f"{name} must be of shape (N,); got {array.shape}")
        return np.asarray(flat)

    def _array(self, values: npt.NDArray[Any], name: str) -> FloatArray:
        if values.dtype.kind in "fiub":
            return values.astype(np.float64)
        return numbers(values.tolist(), name)


def read_table(
    file: Path, *, is_score: Callable[[str], bool], progress: RowsRead | None = None
) -> ColumnTable:
    """Read a file once. Columns that `is_score` become numbers as they are read.

    Raises PredictionsRefused: cells that cannot be read, or more than fit into memory.
    """
    if file.suffix.lower() == ".npz":
        return _read_archive(file)
    names = read_columns(file)
    total = count_rows(file) if progress else 0
    parts: dict[str, list[Any]] = {name: [] for name in names}
    rows, iterator, room = 0, iter(read_rows(file)), 0
    while chunk := list(islice(iterator, _CHUNK)):
        for name, pieces in parts.items():
            cells = [row.get(name) for row in chunk]
            if is_score(name) and not _hold_lists(cells):
                pieces.append(numbers(cells, name, rows + 1))
                room += len(cells)
            else:
                pieces.append(cells)
                room += _TEXT * len(cells) + _values_in(cells)
        rows += len(chunk)
        _require_room(file, room)
        if progress:
            progress(file.name, rows, max(rows, total))
    return ColumnTable(
        str(file), {composed(name): _joined(pieces) for name, pieces in parts.items()}
    )


def _joined(pieces: list[Any]) -> Any:
    if pieces and all(isinstance(piece, np.ndarray) for piece in pieces):
        return np.concatenate(pieces)
    return [cell for piece in pieces for cell in piece]


def _hold_lists(cells: Iterable[Any]) -> bool:
    first = next((cell for cell in cells if cell is not None), None)
    return isinstance(first, list | dict) or (isinstance(first, str) and first[:1] in "[{")


def _values_in(cells: Sequence[Any]) -> int:
    return sum(_TEXT * len(cell) for cell in cells if isinstance(cell, list | dict))


def _require_room(source: object, room: int) -> None:
    if room > CELLS_LIMIT:
        raise PredictionsRefused(
            f"{source} holds more than {CELLS_LIMIT:,} numbers, which is the limit. Draw a random "
            "sample of its rows, or of its patients: the figures hardly change"
        )


def _by_class(cell: Any, column: str, row: int) -> dict[str, Any]:
    """A list by the number of its entries, a mapping by class; {} for a missing one."""
    if isinstance(cell, str):
        if not as_text(cell):
            return {}
        try:
            cell = read_json(cell)
        except ValueError as error:
            raise PredictionsRefused(
                f"row {row:,}: {column!r} is no list of scores in JSON, such as [0.1, 0.9] or "
                f'{{"ill": 0.9, "well": 0.1}} ({error})'
            ) from None
    if isinstance(cell, Mapping):
        return {composed(str(name)): each for name, each in cell.items()}
    if isinstance(cell, list | tuple):
        return {str(place): each for place, each in enumerate(cell)}
    if cell is None:
        return {}
    raise PredictionsRefused(f"row {row:,}: {column!r} is no list of scores")


def _read_archive(file: Path) -> ColumnTable:
    try:
        with zipfile.ZipFile(file) as archive:
            _require_room(file, sum(each.file_size for each in archive.infolist()) // 8)
            names = [each.filename.removesuffix(".npy") for each in archive.infolist()]
    except zipfile.BadZipFile as error:
        raise PredictionsRefused(f"{file} is no NumPy archive ({error})") from None
    arrays = {name: _read_array(file, name) for name in names}
    classes = arrays.pop(_CLASSES, None)
    called = {}
    for name, array in arrays.items():
        if classes is not None and array.ndim == 2 and array.shape[1] == classes.size:
            called[name] = tuple(as_text(each) or str(each) for each in classes.flat)
    return ColumnTable(str(file), arrays, called)


def _read_array(file: Path, name: str) -> npt.NDArray[Any]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            array = np.asarray(archive[name])
    except (*_UNREADABLE, zipfile.BadZipFile) as error:
        pickled = "allow_pickle" in str(error)
        why = "it holds Python objects, which are not opened" if pickled else str(error)
        raise PredictionsRefused(f"{file}: the array {name!r} cannot be read: {why}") from None
    return array.reshape(1) if array.ndim == 0 else array


_TEXTS = (".csv", ".tsv", ".txt")


def count_rows(file: Path) -> int:
    """Return the number of rows, of text files about that number, by their lines."""
    if file.suffix.lower() == ".parquet":
        count: int = _parquet(file).metadata.num_rows
        return count
    with file.open("rb") as stream:
        lines = sum(piece.count(b"\n") for piece in iter(lambda: stream.read(2**20), b""))
    return max(1, lines - (file.suffix.lower() in _TEXTS))


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table without empty cells.

    Raises PredictionsRefused: a file of another kind, or one that cannot be read.
    """
    kinds = {
        **dict.fromkeys(_TEXTS, _csv_rows),
        ".ndjson": _json_rows,
        ".jsonl": _json_rows,
        ".parquet": _parquet_rows,
    }
    if file.suffix.lower() not in kinds:
        raise PredictionsRefused(
            f"{file}: expected a name that ends in {', '.join(kinds)}; save a spreadsheet as CSV "
            "UTF-8, a list of JSON objects as one a line"
        )
    return kinds[file.suffix.lower()](file)


def read_columns(file: Path) -> list[str]:
    """Return a table's columns; of NDJSON, the keys of 200 rows. Raises PredictionsRefused."""
    if file.suffix.lower() in _TEXTS:
        with _named(file), open_csv(file) as table:
            return table.names
    if file.suffix.lower() == ".parquet":
        names: list[str] = _parquet(file).schema_arrow.names
        return names
    return list(dict.fromkeys(name for row in islice(read_rows(file), 200) for name in row))


def _csv_rows(file: Path) -> Iterator[dict[str, Any]]:
    with _named(file), open_csv(file) as table:
        for row in table:
            yield {name: cell for name, cell in row.items() if cell}


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Name the file in what is no table."""
    try:
        yield
    except NotCsv as error:
        raise PredictionsRefused(f"{file} {error}") from None


def _json_rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = read_json(line)
            except ValueError as error:
                raise PredictionsRefused(f"{file}: line {number} is not JSON ({error})") from None
            if not isinstance(row, dict):
                raise PredictionsRefused(f"{file}: line {number} is not a JSON object")
            yield row


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    opened = _parquet(file)
    with _named(file):
        require_distinct(opened.schema_arrow.names)
    try:
        for batch in opened.iter_batches(batch_size=5_000):
            for row in batch.to_pylist():
                yield {key: _plain(value) for key, value in row.items() if value is not None}
    except (OSError, ValueError) as error:
        raise PredictionsRefused(f"{file} cannot be read as Parquet ({error})") from error


def _parquet(file: Path) -> Any:
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise PredictionsRefused(
            f"Parquet needs pyarrow; send a .csv, or install it with: {install_command('parquet')}"
        ) from error
    try:
        return pq.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise PredictionsRefused(f"{file} cannot be read as Parquet ({error})") from error


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
