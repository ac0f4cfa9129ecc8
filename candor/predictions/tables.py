"""The rows of tables: `.csv`, `.tsv`, `.txt`, `.ndjson`, `.jsonl` and `.parquet`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from calibration.strict_json import read_json
from candor.predictions.errors import PredictionsRefused
from model_store.csv_tables import NotCsv, open_csv, require_distinct
from model_store.installation import install_command

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
