"""Answers as rows of CSV."""

import io
import json
from collections.abc import Iterable, Sequence
from typing import Final

from model_store.csv_cells import CsvTable
from monitoring.reports.answers import ListedAnswer

COLUMNS: Final = (
    *("prediction_id", "request_id", "served_at", "tags", "predicted", "confidence"),
    *("label", "right", "source", "reader", "second_reading", "audited", "scope_p", "link"),
)


def cells(answer: ListedAnswer, link: str | None) -> list[object]:
    """The cells of an answer; `link`: the address of its image."""
    truth = next((each for each in reversed(answer.labels) if each.counts_as == "truth"), None)
    second = [each.label for each in answer.labels if each.counts_as == "second_reading"]
    tags = json.dumps(answer.tags) if answer.tags else None
    return [
        *(answer.prediction_id, answer.request_id, answer.served_at, tags),
        *(answer.predicted, answer.confidence, answer.label, answer.right),
        *((truth.source, truth.reader) if truth else (None, None)),
        *("; ".join(second) or None, answer.audited, answer.scope_p, link),
    ]


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """The rows as CSV; what is not known is an empty cell."""
    text = io.StringIO()
    CsvTable(text).writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()
