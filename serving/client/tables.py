"""Files that a client sends: images in folders, and the rows of tables."""

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from model_store.csv_cells import plain_cell
from model_store.image_suffixes import SUFFIX_LIST, images_below
from model_store.installation import install_command
from serving.errors import ServingError


class NothingToSend(ServingError, ValueError):
    """A folder has no images, or a file is not a table."""


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return the given files, and the images below the given folders, sorted.

    Raises:
        NothingToSend: a folder has no images.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = images_below(path)
        if not inside:
            raise NothingToSend(f"{path} has no images; looked for {SUFFIX_LIST}")
        found += inside
    return found


def count_rows(file: Path) -> int:
    """Return the number of rows of a Parquet file, or about that number for a text file, by its lines."""
    if file.suffix == ".parquet":
        count: int = _parquet(file).metadata.num_rows
        return count
    with file.open("rb") as stream:
        lines = sum(piece.count(b"\n") for piece in iter(lambda: stream.read(2**20), b""))
    return max(1, lines - (file.suffix == ".csv"))


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table (`.csv` with a header, `.ndjson`, `.jsonl` or `.parquet`) without empty cells.

    Raises:
        NothingToSend: a file of another kind, or one that cannot be read.
    """
    kinds = {".csv": _csv_rows, ".ndjson": _json_rows, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    if file.suffix not in kinds:
        raise NothingToSend(f"{file}: expected a name that ends in {', '.join(kinds)}")
    return kinds[file.suffix](file)


def read_columns(file: Path) -> list[str]:
    """Return the names of a table's columns; of NDJSON, the keys of the first row. Raises NothingToSend."""
    if file.suffix == ".csv":
        with _open_csv(file) as lines:
            return list(_csv_reader(lines).fieldnames or [])
    if file.suffix == ".parquet":
        names: list[str] = _parquet(file).schema_arrow.names
        return names
    return list(next(read_rows(file), {}))


def _open_csv(file: Path) -> TextIO:
    return file.open(newline="", encoding="utf-8-sig", errors="replace")


def _csv_reader(lines: TextIO) -> "csv.DictReader[str]":
    """A reader of a table separated by commas, or by semicolons as spreadsheets write it in much of Europe."""
    header = lines.readline()
    lines.seek(0)
    semicolons = ";" in header and "," not in header
    reader = csv.DictReader(lines, restkey="(beyond the header)", delimiter=";" if semicolons else ",")
    reader.fieldnames = [plain_cell(name) for name in reader.fieldnames or []]
    return reader


def _csv_rows(file: Path) -> Iterator[dict[str, Any]]:
    with _open_csv(file) as lines:
        for row in _csv_reader(lines):
            yield {key: plain_cell(value) if isinstance(value, str) else value for key, value in row.items() if value}


def _json_rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise NothingToSend(f"{file}: line {number} is not JSON ({error})") from None
            if not isinstance(row, dict):
                raise NothingToSend(f"{file}: line {number} is not a JSON object")
            yield row


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    for batch in _parquet(file).iter_batches(batch_size=5_000):
        for row in batch.to_pylist():
            yield {key: _plain(value) for key, value in row.items() if value is not None}


def _parquet(file: Path) -> Any:
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise NothingToSend(
            f"Parquet needs pyarrow; send a .csv, or install it with: {install_command('parquet')}"
        ) from error
    try:
        return pq.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise NothingToSend(f"{file} cannot be read as Parquet ({error})") from error


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
