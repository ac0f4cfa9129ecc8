"""Tables as CSV text, and files that are in the links that save them: charts and tables that are
computed for one page and kept nowhere. Figures are unrounded; an unknown one is an empty cell.
"""

import base64
import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from starlette.responses import Response

from calibration.measures.reliability import ReliabilityBin
from model_store.bundle.diagram import DiagramScale, diagram_file, reliability_diagram
from model_store.csv_cells import CsvTable

Row = Sequence[Any]
BINS_HEADER: Row = (
    *("confidence_from", "confidence_to", "n", "mean_confidence"),
    *("accuracy", "accuracy_lower", "accuracy_upper"),
)
_BIN_FIELDS = ("lower", "upper", "n", "confidence", *BINS_HEADER[4:])


def safe_name(text: str) -> str:
    """The name of a file for a text that callers chose.

    >>> safe_name("a/b: c")
    'a_b_c'
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)


def attached(name: str, content: str, media_type: str) -> Response:
    """A file that browsers save, and that can do nothing where one shows it."""
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    return Response(content, headers=headers, media_type=media_type)


def csv_text(rows: Iterable[Row]) -> str:
    """The rows as CSV, the header first."""
    text = io.StringIO()
    CsvTable(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def bin_rows(bins: Sequence[ReliabilityBin]) -> list[Row]:
    """The figures of a reliability diagram."""
    return [[getattr(each, name) for name in _BIN_FIELDS] for each in bins]


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value


class HeldFile(NamedTuple):
    """A file that its address holds."""

    name: str
    address: str


class FiledDiagram(NamedTuple):
    """A reliability diagram with its heading, its figures, and both as files."""

    heading: str
    drawn: Markup
    bins: list[ReliabilityBin]
    drawing: HeldFile
    figures: HeldFile


def filed_diagram(
    name: str, heading: str, bins: Sequence[ReliabilityBin], *, of: str, scale: DiagramScale
) -> FiledDiagram:
    """Draw a diagram `of` answers, with files called `name`, on a `scale` that others share."""
    return FiledDiagram(
        heading,
        reliability_diagram(bins, of=of, scale=scale),
        list(bins),
        _held(f"{name}.svg", "image/svg+xml", diagram_file(bins, of=of, scale=scale)),
        held_csv(name, BINS_HEADER, bin_rows(bins)),
    )


def held_csv(name: str, header: Row, rows: Sequence[Row]) -> HeldFile:
    """A table as CSV; `name` without suffix."""
    return _held(f"{name}.csv", "text/csv;charset=utf-8", csv_text([header, *rows]))


def _held(name: str, media_type: str, content: str) -> HeldFile:
    return HeldFile(name, f"data:{media_type};base64,{base64.b64encode(content.encode()).decode()}")
