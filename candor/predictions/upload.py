"""Uploads a table in portions; FILE.progress lets it continue after an interruption.

Sending a row again is safe, so the record may lag behind the server but is never ahead of it. Rows
that the server did not record go to FILE.rejected.csv with the reason. You can correct that file
and upload it by itself.

The drift watch sees labels in the order of their arrival, and its promise needs an order that does
not depend on the outcome. A table made from a folder of images is sorted by class, so it is sent in
a random order.
"""

import csv
import json
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from candor.predictions.errors import PredictionsRefused
from candor.predictions.table import count_rows, read_columns, read_rows
from model_store.csv_cells import CsvTable, plain_cell

PORTION = 5_000
REASON = ("row", "status", "reason")
_FEWEST: Final = 20  # rows that show an order
_BLOCK: Final = 100_000
_Row = TypeVar("_Row")

Rows = Sequence[dict[str, Any]]
NumberedRow = tuple[int, dict[str, Any]]
Send = Callable[[Rows], Mapping[str, Any]]  # the server's summary: `statuses`, `problems`
UploadProgress = Callable[[str, int, int], None]
RowItem = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass
class UploadResult:
    """Progress of an upload. `statuses`: rows by status; `began`: rows that an earlier run sent."""

    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    began: int = 0


class TableUpload:
    """The table in `file`. `item` turns a row, its cells with a value, into what is sent.

    Rows with equal values of a column of `mixed` are not sent one after the other: if the table is
    grouped by it, its rows are sent in a random order (`is_grouped`).
    """

    def __init__(self, file: Path, item: RowItem, *, mixed: Collection[str] = ()) -> None:
        self.file = file
        self.is_grouped = False
        self._mixed = mixed
        self.rejected_file = file.with_name(f"{file.name}.rejected.csv")
        self.progress_file = file.with_name(f"{file.name}.progress")
        self._item = item
        self._reasons_header: list[str] | None = None

    def run(self, send: Send, *, progress: UploadProgress, portion: int = PORTION) -> UploadResult:
        """Send what was not sent before. Raises PredictionsRefused and what `send` raises."""
        done = self._resume()
        total = count_rows(self.file)
        progress(self.file.name, done.rows, max(total, done.rows))
        sent = islice(self._rows(), done.rows, None)
        if not done.rows:
            self.rejected_file.unlink(missing_ok=True)
        while portions := list(islice(sent, portion)):
            summary = send([self._item(row) for _, row in portions])
            self._note(done, portions, summary)
            progress(self.file.name, done.rows, max(total, done.rows))
        self.progress_file.unlink(missing_ok=True)
        return done

    def _rows(self) -> Iterator[NumberedRow]:
        """The rows in the order in which they are sent, with their numbers from 1."""
        rows = enumerate(read_rows(self.file), 1)
        self.is_grouped = any(
            is_grouped(row.get(column) for row in read_rows(self.file)) for column in self._mixed
        )
        return shuffled(rows) if self.is_grouped else rows

    def _note(
        self, done: UploadResult, rows: Sequence[NumberedRow], summary: Mapping[str, Any]
    ) -> None:
        problems = summary["problems"]
        if problems:
            self._reject(rows, problems)
        done.rows += len(rows)
        done.statuses.update(summary["statuses"])
        done.rejected += len(problems)
        state = {
            "of": self._identity(),
            "rows": done.rows,
            "statuses": done.statuses,
            "rejected": done.rejected,
        }
        draft = self.progress_file.with_name(f".{self.progress_file.name}.part")
        draft.write_text(json.dumps(state))
        draft.replace(self.progress_file)

    def _reject(self, rows: Sequence[NumberedRow], problems: Sequence[Mapping[str, Any]]) -> None:
        new = not self.rejected_file.exists()
        with self.rejected_file.open("a", newline="", encoding="utf-8") as stream:
            header = self._header([row for _, row in rows], new)
            table = CsvTable(stream)
            if new:
                table.writerow(header)
            for problem in problems:
                number, row = rows[problem["line"] - 1]
                where = {"row": number, "status": problem["status"], "reason": problem["detail"]}
                cells = {name: _cell(value) for name, value in row.items()} | where
                table.writerow(cells.get(name, "") for name in header)

    def _header(self, rows: Rows, new: bool) -> list[str]:
        if self._reasons_header is None and new:
            names = dict.fromkeys(name for row in rows for name in row)
            self._reasons_header = [*names, *REASON]
        if self._reasons_header is None:
            with self.rejected_file.open(newline="", encoding="utf-8") as stream:
                self._reasons_header = [plain_cell(name) for name in next(csv.reader(stream))]
        return self._reasons_header

    def _resume(self) -> UploadResult:
        try:
            state = json.loads(self.progress_file.read_text())
            if state["of"] != self._identity():
                return UploadResult()
            return UploadResult(
                state["rows"], Counter(state["statuses"]), state["rejected"], began=state["rows"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return UploadResult()

    def _identity(self) -> list[int]:
        """Size and modification time of the file; when they change, the upload starts over."""
        found = self.file.stat()
        return [found.st_size, found.st_mtime_ns]


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def require_columns(file: Path, *groups: Collection[str]) -> None:
    """Raise PredictionsRefused unless the table has a row, and a column of each of these groups."""
    columns = read_columns(file)
    for group in groups:
        if not any(name in columns for name in group):
            present = ", ".join(map(repr, columns)) or "none"
            raise PredictionsRefused(
                f"{file}: expected a column {' or '.join(group)}; found {present}"
            )
    if next(read_rows(file), None) is None:
        raise PredictionsRefused(f"{file} has a header, but no row below it")


def is_grouped(labels: Iterable[object]) -> bool:
    """Whether equal labels stand together: half the changes of a random order, or fewer.

    >>> is_grouped(["cat"] * 30 + ["dog"] * 30), is_grouped(["cat", "dog"] * 30)
    (True, False)
    """
    counts: Counter[object] = Counter()
    changes, last = 0, None
    for label in labels:
        changes += bool(counts) and label != last
        counts[label] += 1
        last = label
    n = counts.total()
    expected = n - sum(count**2 for count in counts.values()) / n if n else 0.0
    return n >= _FEWEST and len(counts) > 1 and changes < expected / 2


def shuffled(rows: Iterable[_Row], *, block: int = _BLOCK) -> Iterator[_Row]:
    """Yield the rows in an order that looks random but repeats, by blocks of `block` rows."""
    order, left = random.Random(0), iter(rows)
    while taken := list(islice(left, block)):
        order.shuffle(taken)
        yield from taken
