"""What a layout is, and what the layouts share: finding a tree's root, reading a table."""

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.datasets.errors import BadDataset
from training.datasets.records import Listing

DEPTH = 2  # archives wrap a data set in a folder of its own name, or in two


@dataclass(frozen=True)
class Layout:
    """A way in which a data set lies on disk.

    `find` gives the tree's root at or below a path, None if it is not there; `read` lists what the root holds.
    `tree` shows it in a line.
    """

    name: str
    tree: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path], Listing]


def visible(folder: Path) -> Iterator[Path]:
    """Entries of a folder, sorted, without hidden ones and the litter of macOS archives."""
    return (each for each in sorted(folder.iterdir()) if not each.name.startswith((".", "__MACOSX")))


def find_root(path: Path, fits: Callable[[Path], bool], *, depth: int = DEPTH) -> Path | None:
    """The shallowest folder at or below `path` that `fits`."""
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
    """Rows of a CSV file with a header; names of columns in lower case, white space around values removed.

    Raises BadDataset if a column is missing, a row is too short, or the file is not text.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            header = [name.strip().lower() for name in reader.fieldnames or ()]
            missing = [name for name in columns if name not in header]
            if missing:
                raise BadDataset(path, f"has no column {' or '.join(missing)}; it has {', '.join(header) or 'none'}")
            reader.fieldnames = header
            return [_row(path, reader.line_num, row, columns) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadDataset(path, f"is not a CSV file in UTF-8 ({error})") from error


def _row(path: Path, line: int, row: dict[str, str], columns: Sequence[str]) -> dict[str, str]:
    if any(row[name] is None for name in columns):
        raise BadDataset(path, f"line {line} has fewer values than the header has columns")
    return {name: value.strip() for name, value in row.items() if name is not None and isinstance(value, str)}
