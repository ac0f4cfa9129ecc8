"""What a layout is, and what layouts share: finding the root of a tree, reading a table."""

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_store.csv_cells import plain_cell
from training.datasets.errors import BadDataset
from training.datasets.records import Listing

SEPARATORS = (",", ";", "\t")
DEPTH = 2  # archives wrap a data set in one or two folders


@dataclass(frozen=True)
class Layout:
    """One way to store a data set on disk.

    `find` returns the root of such a tree at or below a path, or None; `read` lists the contents of
    a root. `tree` describes the tree in one line.
    """

    name: str
    tree: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path], Listing]


def visible(folder: Path) -> Iterator[Path]:
    """Sorted entries of a folder, without hidden ones and those that macOS adds to archives."""
    return (
        each for each in sorted(folder.iterdir()) if not each.name.startswith((".", "__MACOSX"))
    )


def find_root(path: Path, fits: Callable[[Path], bool], *, depth: int = DEPTH) -> Path | None:
    """The shallowest folder at or below `path` for which `fits` is true."""
    if not path.is_dir():
        return None
    waiting = deque([(path, 0)])
    while waiting:
        folder, level = waiting.popleft()
        if fits(folder):
            return folder
        if level < depth:
            waiting.extend((each, level + 1) for each in visible(folder) if each.is_dir())
    return None


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header; column names in lower case, values without surrounding
    white space.

    Columns are separated by the first of SEPARATORS that gives a header with all `columns`. Raises
    BadDataset if a column is missing, a row is too short, or the file is not text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, delimiter=separator(path, columns))
            header = [plain_cell(name).strip().lower() for name in reader.fieldnames or ()]
            missing = [name for name in columns if name not in header]
            if missing:
                raise BadDataset(
                    path,
                    f"has no column {' or '.join(missing)}; it has {', '.join(header) or 'none'}",
                )
            reader.fieldnames = header
            return [_row(path, reader.line_num, row, columns) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadDataset(path, f"is not a CSV file in UTF-8 ({error})") from error


def separator(path: Path, columns: Sequence[str]) -> str:
    """What separates the columns of a table: the first of SEPARATORS whose header has all
    `columns`, else a comma.
    """
    with path.open(newline="", encoding="utf-8-sig") as lines:
        header = lines.readline().lower()
    for each in SEPARATORS:
        (names,) = csv.reader([header], delimiter=each)
        if set(columns) <= {name.strip() for name in names}:
            return each
    return ","


def _row(path: Path, line: int, row: dict[str, str], columns: Sequence[str]) -> dict[str, str]:
    if any(row[name] is None for name in columns):
        raise BadDataset(path, f"line {line} has fewer values than the header has columns")
    return {
        name: plain_cell(value.strip())
        for name, value in row.items()
        if name is not None and isinstance(value, str)
    }
