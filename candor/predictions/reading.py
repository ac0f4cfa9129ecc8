"""Reads labeled predictions from a file: `.csv`, `.ndjson`, `.jsonl`, `.parquet`, or `.npz` of arrays."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from candor.predictions.archive import collect_archive
from candor.predictions.collected import Collected, as_text, collect
from candor.predictions.interpretation import interpret
from candor.predictions.labeled import LabeledPredictions, ReadingOptions
from serving.client.columns import TableColumns, find_columns
from serving.client.tables import count_rows, read_columns, read_rows

_SAMPLE = 200
RowsRead = Callable[[str, int, int], None]  # file, rows read, about how many there are


def read_predictions(
    file: Path, options: ReadingOptions | None = None, *, progress: RowsRead | None = None
) -> LabeledPredictions:
    """Read a file of predictions.

    Raises:
        PredictionsRefused: the cells cannot be read, or what they mean is open.
        serving.client.columns.ColumnsUnclear: what the columns are is open.
        serving.client.tables.NothingToSend: the file is no table.
        OSError: the file cannot be read.
    """
    chosen = options or ReadingOptions()
    columns, collected = _collect(file, chosen, progress)
    return interpret(collected, columns, chosen)


def _collect(file: Path, options: ReadingOptions, progress: RowsRead | None) -> tuple[TableColumns, Collected]:
    if file.suffix.lower() == ".npz":
        return collect_archive(file, options.wishes)
    names = read_columns(file)
    columns = find_columns(names, options.wishes)
    if not columns.scores and not columns.vector and columns.label:
        labels = {as_text(row.get(columns.label)) or "" for row in islice(read_rows(file), _SAMPLE)}
        columns = find_columns(names, options.wishes, labels=labels)
    return columns, collect(file, _watched(file, progress), columns)


def _watched(file: Path, progress: RowsRead | None) -> Iterator[Mapping[str, Any]]:
    total = count_rows(file) if progress else 0
    for number, row in enumerate(read_rows(file), 1):
        if progress and number % 20_000 == 0:
            progress(file.name, number, max(number, total))
        yield row
