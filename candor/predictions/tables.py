"""The rows of tables: `.csv`, `.tsv`, `.txt`, `.ndjson`, `.jsonl` and `.parquet`."""

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from candor.predictions.errors import TableRefused
from model_store.csv_cells import plain_cell
from model_store.installation import install_command

_TEXTS = (".csv", ".tsv", ".txt")
_DELIMITERS = ",;\t|"
_SEPARATOR_LINE = re.compile(r"sep=([,;\t|])", re.IGNORECASE)


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

    Raises:
        TableRefused: a file of another kind, or one that cannot be read.
    """
    kinds = {
        **dict.fromkeys(_TEXTS, _csv_rows),
        ".ndjson": _json_rows,
        ".jsonl": _json_rows,
        ".parquet": _parquet_rows,
    }
    if file.suffix.lower() not in kinds:
        raise TableRefused(
            f"{file}: expected a name that ends in {', '.join(kinds)}; save a spreadsheet as CSV "
            "UTF-8, a list of JSON objects as one a line"
        )
    return kinds[file.suffix.lower()](file)


def read_columns(file: Path) -> list[str]:
    """Return a table's columns; of NDJSON, the keys of 200 rows. Raises TableRefused."""
    if file.suffix.lower() in _TEXTS:
        with _open_csv(file) as lines, _named(file):
            return list(_csv_reader(file, lines).fieldnames or [])
    if file.suffix.lower() == ".parquet":
        names: list[str] = _parquet(file).schema_arrow.names
        return names
    return list(dict.fromkeys(name for row in islice(read_rows(file), 200) for name in row))


def _open_csv(file: Path) -> TextIO:
    with file.open("rb") as stream:
        start = stream.read(2)
    # what a spreadsheet calls Unicode text
    wide = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return file.open(newline="", encoding="utf-16" if wide else "utf-8-sig")


def _csv_reader(file: Path, lines: TextIO) -> "csv.DictReader[str]":
    """A reader of a table separated by commas, semicolons (as in much of Europe), tabs or bars."""
    header = lines.readline()
    if named := _SEPARATOR_LINE.fullmatch(header.strip()):  # written and read by Excel alone
        delimiter = named[1]
    else:
        lines.seek(0)
        delimiter = max(
            _DELIMITERS, key=lambda each: len(next(csv.reader([header], delimiter=each), []))
        )
    reader = csv.DictReader(lines, restkey="(beyond the header)", delimiter=delimiter)
    reader.fieldnames = [plain_cell(name) for name in reader.fieldnames or []]
    _require_distinct(file, reader.fieldnames)
    return reader


def _csv_rows(file: Path) -> Iterator[dict[str, Any]]:
    with _open_csv(file) as lines, _named(file):
        for row in _csv_reader(file, lines):
            yield {
                key: plain_cell(value) if isinstance(value, str) else value
                for key, value in row.items()
                if value
            }


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Turn what the text or the parser of a CSV raises into a sentence that names the file."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise TableRefused(
            f"{file} is not UTF-8 text (byte {error.object[error.start]:#04x}): save it as CSV "
            "UTF-8"
        ) from None
    except csv.Error as error:
        raise TableRefused(f"{file} cannot be read as CSV ({error})") from None


def _require_distinct(file: Path, names: Sequence[str]) -> None:
    twice = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if twice is not None:
        raise TableRefused(
            f"{file} has two columns {twice!r}: rename one, or delete what stands above the row of "
            "names"
        )


def _json_rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise TableRefused(f"{file}: line {number} is not JSON ({error})") from None
            if not isinstance(row, dict):
                raise TableRefused(f"{file}: line {number} is not a JSON object")
            yield row


def _parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    opened = _parquet(file)
    _require_distinct(file, opened.schema_arrow.names)
    try:
        for batch in opened.iter_batches(batch_size=5_000):
            for row in batch.to_pylist():
                yield {key: _plain(value) for key, value in row.items() if value is not None}
    except (OSError, ValueError) as error:
        raise TableRefused(f"{file} cannot be read as Parquet ({error})") from error


def _parquet(file: Path) -> Any:
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise TableRefused(
            f"Parquet needs pyarrow; send a .csv, or install it with: {install_command('parquet')}"
        ) from error
    try:
        return pq.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise TableRefused(f"{file} cannot be read as Parquet ({error})") from error


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
