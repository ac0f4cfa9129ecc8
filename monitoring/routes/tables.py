"""Tables that stream in, as NDJSON or as CSV with a header: bytes in, items out, one per row, in
pieces of any size.

A row that cannot be read carries a problem, and reading goes on. A table is refused as a whole if
over UNREAD_LIMIT rows cannot be read or are empty, and a CSV also if its header is missing or names
an unknown column. No row may be longer than ROW_LIMIT_BYTES, quoted line breaks included.
"""

import csv
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from model_store.csv_cells import plain_cell
from monitoring.errors import TableInvalid, brief
from monitoring.http.json_body import JsonReader

ROW_LIMIT_BYTES = 64 * 1024
UNREAD_LIMIT = 10_000
NDJSON, CSV = "application/x-ndjson", "text/csv"
_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """`line`: where it begins, from 1, the header included. `item`: its content; None if `problem`
    says why not.
    """

    line: int
    item: Any
    problem: str | None = None


class TableReader(Protocol):
    """Reads a table piece by piece."""

    def feed(self, chunk: bytes) -> list[Row]:
        """The rows that are complete with this chunk. Raises TableInvalid."""

    def end(self) -> list[Row]:
        """What is left when there are no more bytes. Raises TableInvalid."""


class _Line(NamedTuple):
    number: int
    data: bytes | None  # None: too long


class _Lines:
    """Splits bytes into lines without their ends; skips lines that are too long."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0
        self._skipping = False  # the rest of a line that is too long

    def feed(self, chunk: bytes) -> list[_Line]:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        lines = [line for data in whole if (line := self._line(data)) is not None]
        if len(self._rest) > ROW_LIMIT_BYTES:
            self._rest = b""
            if not self._skipping:
                self._skipping = True
                self._number += 1
                lines.append(_Line(self._number, None))
        return lines

    def end(self) -> list[_Line]:
        rest, self._rest = self._rest, b""
        line = self._line(rest) if rest else None
        return [] if line is None else [line]

    def _line(self, data: bytes) -> _Line | None:
        if self._skipping:
            self._skipping = False
            return None
        self._number += 1
        if self._number == 1:
            data = data.removeprefix(_BOM)
        return _Line(
            self._number, data.removesuffix(b"\r") if len(data) <= ROW_LIMIT_BYTES else None
        )


class _Unread:
    """Counts rows that are empty or cannot be read, and ends a table that is none. Raises
    TableInvalid.
    """

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def checked(self, row: Row) -> Row:
        """The row, counted if it cannot be read."""
        if row.problem is not None:
            self._first = self._first or f" The first is line {row.line}: {row.problem}"
            self._add(1)
        return row

    def without_empty(self, lines: Sequence[_Line]) -> list[_Line]:
        """The lines that are not empty."""
        kept = [line for line in lines if line.data is None or line.data.strip()]
        self._add(len(lines) - len(kept))
        return kept

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > UNREAD_LIMIT:
            raise TableInvalid(
                f"Over {UNREAD_LIMIT:,} rows are empty or cannot be read.{self._first}"
            )


class NdjsonReader:
    """A JSON object per line; empty lines are skipped.

    `decode` turns a line into an item, or refuses it with a ValueError.
    """

    def __init__(self, decode: Callable[[bytes], Any] = json.loads) -> None:
        self._lines = _Lines()
        self._decode = decode
        self._unread = _Unread()

    def feed(self, chunk: bytes) -> list[Row]:
        """See TableReader."""
        return self._rows(self._lines.feed(chunk))

    def end(self) -> list[Row]:
        """See TableReader."""
        return self._rows(self._lines.end())

    def _rows(self, lines: Sequence[_Line]) -> list[Row]:
        return [self._unread.checked(self._row(line)) for line in self._unread.without_empty(lines)]

    def _row(self, line: _Line) -> Row:
        if line.data is None:
            return _unread(line)
        try:
            return Row(line.number, self._decode(line.data))
        except (ValueError, RecursionError) as error:
            return Row(line.number, None, str(error))


class _OpenRecord:
    """A row whose quotes are not closed yet: its lines, joined only once, because they may be tens
    of thousands.
    """

    def __init__(self, number: int, lines: list[bytes]) -> None:
        self._number, self._lines = number, lines
        self._size_bytes = len(lines[0])

    def add(self, data: bytes | None) -> _Line | None:
        """The record, if this line (None: too long) ends it or makes it too long."""
        if data is None or self._size_bytes + 1 + len(data) > ROW_LIMIT_BYTES:
            return _Line(self._number, None)
        self._lines.append(data)
        self._size_bytes += 1 + len(data)
        return self.joined() if data.count(b'"') % 2 else None

    def joined(self) -> _Line:
        """The record as far as it has come."""
        return _Line(self._number, b"\n".join(self._lines))


class CsvReader:
    """Comma-separated values under a header of some of `columns`. Empty cells are left out.

    `convert` turns the cells by column into an item, or refuses them with a ValueError.
    """

    def __init__(
        self,
        columns: Collection[str],
        convert: Callable[[dict[str, str]], Any] = lambda cells: cells,
    ) -> None:
        self._columns = columns
        self._convert = convert
        self._lines = _Lines()
        self._header: list[str] | None = None
        self._unread = _Unread()
        self._open: _OpenRecord | None = None

    def feed(self, chunk: bytes) -> list[Row]:
        """See TableReader."""
        return self._rows(self._whole(self._lines.feed(chunk)))

    def end(self) -> list[Row]:
        """See TableReader."""
        records = self._whole(self._lines.end())
        if self._open is not None:
            records.append(self._open.joined())
            self._open = None
        rows = self._rows(records)
        if self._header is None:
            raise TableInvalid(
                "The table is empty; its first line must name columns, some of: "
                f"{self._expected()}."
            )
        return rows

    def _whole(self, lines: Sequence[_Line]) -> list[_Line]:
        """Join lines to records; a record ends with a line that closes all quotes."""
        records = []
        for line in lines:
            if self._open is None:
                opens = line.data is not None and line.data.count(b'"') % 2 == 1
                if opens:
                    self._open = _OpenRecord(line.number, [line.data or b""])
                else:
                    records.append(line)
            elif (record := self._open.add(line.data)) is not None:
                self._open = None
                records.append(record)
        return self._unread.without_empty(records)

    def _rows(self, records: Sequence[_Line]) -> list[Row]:
        texts = [_text(record) for record in records]
        if self._header is None and records:
            self._header = self._read_header(texts[0])
            records, texts = records[1:], texts[1:]
        return [
            self._unread.checked(self._row(record, text))
            for record, text in zip(records, texts, strict=True)
        ]

    def _row(self, record: _Line, text: str | None) -> Row:
        if text is None:
            return _unread(record)
        header = self._header or []
        try:
            (cells,) = csv.reader([text], strict=True)
        except (csv.Error, ValueError) as error:
            return Row(record.number, None, f"The line is not CSV ({error}): {brief(text)}.")
        if len(cells) != len(header):
            return Row(
                record.number,
                None,
                f"The line has {len(cells)} cells, the header {len(header)} columns.",
            )
        try:
            item = self._convert(
                {name: plain_cell(cell) for name, cell in zip(header, cells, strict=True) if cell}
            )
        except ValueError as error:
            return Row(record.number, None, str(error))
        return Row(record.number, item)

    def _read_header(self, text: str | None) -> list[str]:
        try:
            (names,) = csv.reader([text or ""], strict=True)
        except (csv.Error, ValueError):
            names = []
        header = [plain_cell(name).strip() for name in names]
        wrong = next((name for name in header if name not in self._columns), None)
        if wrong is not None or not header or len(set(header)) < len(header):
            what = (
                f"column {brief(wrong)} is unknown"
                if wrong is not None
                else "it names no column, or one twice"
            )
            raise TableInvalid(
                f"The first line must name the columns, some of: {self._expected()}; {what}."
            )
        return header

    def _expected(self) -> str:
        return ", ".join(sorted(self._columns))


def table_readers(items: JsonReader[Any]) -> Mapping[str, Callable[[], TableReader]]:
    """The reader for a table of such items, by media type."""
    return {
        NDJSON: lambda: NdjsonReader(items.read),
        CSV: lambda: CsvReader(items.fields, items.convert),
    }


def _text(line: _Line) -> str | None:
    try:
        return None if line.data is None else line.data.decode()
    except UnicodeDecodeError:
        return None


def _unread(line: _Line) -> Row:
    what = f"longer than {ROW_LIMIT_BYTES:,} bytes" if line.data is None else "not UTF-8"
    return Row(line.number, None, f"The line is {what}.")
