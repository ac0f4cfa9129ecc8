"""Tables that stream in, as NDJSON or as CSV with a header: bytes in, items out, one per row, in
pieces of any size.

A row that cannot be read carries a problem, and reading goes on. A table is refused as a whole if
over UNREAD_LIMIT rows cannot be read or are empty, and a CSV also if its header is missing or names
an unknown column. No row may be longer than ROW_LIMIT_BYTES, quoted line breaks included.
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from calibration.findings.labels import LOOKED_FOR
from model_store.csv_cells import plain_cell
from monitoring.errors import TableInvalid, brief
from monitoring.http.json_body import JsonReader

ROW_LIMIT_BYTES = 64 * 1024
UNREAD_LIMIT = 10_000
NDJSON, CSV = "application/x-ndjson", "text/csv"
_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """`line`: where it begins, from 1, with the header. `item`: None if there is a `problem`."""

    line: int
    item: Any
    problem: str | None = None


class _Line(NamedTuple):
    number: int
    data: bytes | None  # None: too long

    @property
    def is_empty(self) -> bool:
        return self.data is not None and not self.data.strip()

    def whole(self) -> bytes:
        if self.data is None:
            raise ValueError(f"The line is longer than {ROW_LIMIT_BYTES:,} bytes.")
        return self.data

    def text(self) -> str:
        try:
            return self.whole().decode()
        except UnicodeDecodeError:
            raise ValueError("The line is not UTF-8.") from None


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
        fits = len(data) <= ROW_LIMIT_BYTES
        return _Line(self._number, data.removesuffix(b"\r") if fits else None)


class TableReader(ABC):
    """Reads a table piece by piece. Raises TableInvalid for one that has too much rubbish."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._unread = 0  # rows that are empty or cannot be read
        self._first_problem = ""

    def feed(self, chunk: bytes) -> list[Row]:
        """The rows that are complete with this chunk. Raises TableInvalid."""
        return self._rows(self._lines.feed(chunk))

    def end(self) -> list[Row]:
        return self._rows(self._lines.end())

    def _rows(self, lines: Sequence[_Line]) -> list[Row]:
        rows = []
        for line in lines:
            if line.is_empty:
                self._count_unread("")
                continue
            try:
                rows.append(Row(line.number, self._item(line)))
            except (ValueError, RecursionError) as error:
                rows.append(Row(line.number, None, str(error)))
                self._count_unread(f" The first is line {line.number}: {error}")
        return rows

    @abstractmethod
    def _item(self, line: _Line) -> Any:
        """The item of a line. Raises ValueError or RecursionError."""

    def _count_unread(self, problem: str) -> None:
        self._unread += 1
        self._first_problem = self._first_problem or problem
        if self._unread > UNREAD_LIMIT:
            raise TableInvalid(
                f"Over {UNREAD_LIMIT:,} rows are empty or cannot be read.{self._first_problem}"
            )


class NdjsonReader(TableReader):
    """A JSON object per line; `decode` turns it into an item, or refuses it with a ValueError."""

    def __init__(self, decode: Callable[[bytes], Any] = json.loads) -> None:
        super().__init__()
        self._decode = decode

    def _item(self, line: _Line) -> Any:
        return self._decode(line.whole())


class _OpenRecord:
    """A row whose quotes are not closed yet: its lines, joined only once, for they may be many."""

    def __init__(self, line: _Line) -> None:
        self._number, self._lines = line.number, [line.data or b""]
        self._size_bytes = len(self._lines[0])

    def add(self, data: bytes | None) -> _Line | None:
        """The record, if this line (None: too long) ends it or makes it too long."""
        if data is None or self._size_bytes + 1 + len(data) > ROW_LIMIT_BYTES:
            return _Line(self._number, None)
        self._lines.append(data)
        self._size_bytes += 1 + len(data)
        return self.joined() if data.count(b'"') % 2 else None

    def joined(self) -> _Line:
        return _Line(self._number, b"\n".join(self._lines))


class CsvReader(TableReader):
    """Comma-separated values under a header of some of `columns`. Empty cells are left out, but
    that of LOOKED_FOR: it says that nobody looked, so that a list beside it is no class.

    Without one of the columns `instead_of`, the header may name others: those of findings.
    `convert` turns the cells by column into an item, or refuses them with a ValueError.
    """

    def __init__(
        self,
        columns: Collection[str],
        convert: Callable[[dict[str, str]], Any] = lambda cells: cells,
        *,
        instead_of: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._columns, self._instead_of = columns, instead_of
        self._convert = convert
        self._header: list[str] = []
        self._open: _OpenRecord | None = None

    def end(self) -> list[Row]:
        rows = super().end()
        if self._open is not None:
            left, self._open = self._open.joined(), None
            rows += super()._rows(self._without_header([left]))
        if not self._header:
            raise TableInvalid(
                f"The table is empty; its first line must name columns, some of: "
                f"{self._expected()}."
            )
        return rows

    def _rows(self, lines: Sequence[_Line]) -> list[Row]:
        """Join lines to records; a record ends with a line that closes all quotes."""
        records = []
        for line in lines:
            if self._open is not None:
                if (record := self._open.add(line.data)) is not None:
                    self._open = None
                    records.append(record)
            elif line.data is not None and line.data.count(b'"') % 2:
                self._open = _OpenRecord(line)
            else:
                records.append(line)
        return super()._rows(self._without_header(records))

    def _without_header(self, records: list[_Line]) -> list[_Line]:
        """Read the header, if it is among these, which end up without it."""
        for number, record in enumerate(records if not self._header else ()):
            if record.is_empty:
                self._count_unread("")
            else:
                self._header = self._read_header(record)
                return records[number + 1 :]
        return records if self._header else []

    def _item(self, line: _Line) -> Any:
        text = line.text()
        try:
            (cells,) = csv.reader([text], strict=True)
        except (csv.Error, ValueError) as error:
            raise ValueError(f"The line is not CSV ({error}): {brief(text)}.") from None
        if len(cells) != len(self._header):
            raise ValueError(
                f"The line has {len(cells)} cells, the header {len(self._header)} columns."
            )
        named = zip(self._header, cells, strict=True)
        kept = {name: plain_cell(cell) for name, cell in named if cell or name == LOOKED_FOR}
        return self._convert(kept)

    def _read_header(self, line: _Line) -> list[str]:
        try:
            (names,) = csv.reader([line.text()], strict=True)
        except (csv.Error, ValueError):
            names = []
        header = [plain_cell(name).strip() for name in names]
        wrong = [name for name in header if name not in self._columns]
        if self._instead_of and not any(name in self._instead_of for name in header):
            wrong = [] if any(name in self._columns for name in header) else wrong
        if wrong or not header or len(set(header)) < len(header):
            what = (
                f"column {brief(wrong[0])} is unknown"
                if wrong
                else "it names no column, or one twice"
            )
            raise TableInvalid(
                f"The first line must name the columns, some of: {self._expected()}; {what}."
            )
        return header

    def _expected(self) -> str:
        return ", ".join(sorted(self._columns))


def table_readers(
    items: JsonReader[Any], *, instead_of: Collection[str] = ()
) -> Mapping[str, Callable[[], TableReader]]:
    """The reader for a table of such items, by media type; `instead_of` as in `CsvReader`."""
    return {
        NDJSON: lambda: NdjsonReader(items.read),
        CSV: lambda: CsvReader(items.fields, items.convert, instead_of=instead_of),
    }
