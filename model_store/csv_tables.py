"""CSV tables as spreadsheets, pandas, R and NumPy write them. Every table of a user is read here.

Commas, semicolons, tabs or bars separate the columns. UTF-8 and UTF-16 are read. Empty lines,
comments that begin with `#`, and Excel's `sep=;` may stand above the row of names. That row itself
may begin with `#`, as NumPy writes it, or lack the name of the first column, as R writes it.
"""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, TextIO

from model_store.csv_cells import plain_cell

_DELIMITERS: Final = ",;\t|"
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)
_NUMBER: Final = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")
_INVISIBLE: Final = "\u200b\ufeff"
_OTHER_FORMATS: Final = {
    b"PK\x03\x04": "an Excel workbook or a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "Parquet",
}


class NotCsv(ValueError):
    """Why a file is no CSV table, and what to do; the text follows the name of the file."""


@dataclass
class OpenTable:
    """An open table: `names` of its columns, what separates them, and its rows.

    Iterating gives a dictionary of cells for each row that is not blank; a row that is too short
    lacks the last columns. `line` is that of the last row.
    """

    names: list[str]
    delimiter: str
    _reader: Any
    _first: list[str]

    @property
    def line(self) -> int:
        """The number of the last line read, from 1."""
        return int(self._reader.line_num)

    def __iter__(self) -> Iterator[dict[str, str]]:
        for cells in chain([self._first], self._reader):
            if not cells or (len(cells) < len(self.names) and _is_comment(cells)):
                continue
            if any(cells[len(self.names) :]):
                raise NotCsv(
                    f"has {len(cells)} cells in line {self.line}, and {len(self.names)} in the row "
                    "of names: delete what stands above the row of names, or quote cells that "
                    f"hold {self.delimiter!r}"
                )
            yield dict(zip(self.names, map(plain_cell, cells), strict=False))


@contextmanager
def open_csv(file: Path) -> Iterator[OpenTable]:
    """Open a table. Raises NotCsv, also while its rows are read, and OSError."""
    try:
        with file.open(newline="", encoding=_encoding(file)) as lines:
            yield _table(lines)
    except UnicodeDecodeError as error:
        raise NotCsv(
            f"is not UTF-8 text (byte {error.object[error.start]:#04x}): save it as CSV UTF-8"
        ) from None
    except csv.Error as error:
        raise NotCsv(f"cannot be read as CSV ({error})") from None


def require_distinct(names: Sequence[str]) -> None:
    """Raise NotCsv if two columns have one name."""
    twice = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if twice is not None:
        raise NotCsv(
            f"has two columns {twice!r}: rename one, or delete what stands above the row of names"
        )


def _encoding(file: Path) -> str:
    with file.open("rb") as stream:
        start = stream.read(4)
    for magic, name in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise NotCsv(f"is {name}, not text: save it as CSV UTF-8")
    # what a spreadsheet calls Unicode text, with its mark or without
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    zeros = start.count(b"\0", 0, 2)
    if zeros == 1:
        return "utf-16-be" if start.startswith(b"\0") else "utf-16-le"
    return "utf-8-sig"


def _table(lines: TextIO) -> OpenTable:
    above, header, delimiter = _header(lines)
    # blank lines in place of those above keep the numbers of lines
    reader = csv.reader(chain(["\n"] * above, header, lines), delimiter=delimiter)
    names = next((cells for cells in reader if cells), [])
    first = next((cells for cells in reader if cells), [])
    if names and names[0].startswith("#"):
        names[0] = names[0].removeprefix("#")
    names = [plain_cell(name.strip().strip(_INVISIBLE).strip()) for name in names]
    if len(first) == len(names) + 1 > 2 and first[-1]:
        names.insert(0, "")  # R names no column of row names
    if any("\0" in name for name in names):
        raise NotCsv("is not UTF-8 text (it has bytes of 0): save it as CSV UTF-8")
    if len(names) == 1 and " " in names[0]:
        raise NotCsv(
            f"begins with {names[0][:60]!r}; expected a row of names, separated by , ; tab or |. "
            "Delete what stands above it"
        )
    require_distinct(names)
    return OpenTable(names, delimiter, reader, first)


def _header(lines: TextIO) -> tuple[int, list[str], str]:
    """The number of lines above the row of names, its text and what follows, the delimiter."""
    above, delimiter, comment = 0, None, None
    for line in iter(lines.readline, ""):
        text = line.strip("\r\n")
        if named := _SEPARATOR_LINE.fullmatch(text):  # written and read by Excel alone
            delimiter = named[1]
        elif text.startswith("#"):
            comment = line
        elif text.strip(_DELIMITERS + ' "'):
            chosen = delimiter or max(_DELIMITERS, key=lambda each: len(_cells(line, each)))
            if comment is not None and _are_names(_cells(comment, chosen), _cells(line, chosen)):
                return above - 1, [comment, line], chosen
            return above, [line], chosen
        above += 1
    return above, [comment] if comment else [], delimiter or ","


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _are_names(comment: Sequence[str], row: Sequence[str]) -> bool:
    """Whether a line with `#` names the columns of the row below it."""
    numbers = [
        any(_NUMBER.fullmatch(cell.strip("# ")) for cell in cells) for cells in (comment, row)
    ]
    return len(comment) == len(row) > 1 and numbers == [False, True]


def _is_comment(cells: Sequence[str]) -> bool:
    return cells[0].startswith("#")
