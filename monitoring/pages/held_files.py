"""Files that are in the links that save them, for charts and tables that are computed for one page
and kept nowhere.
"""

import base64
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from calibration.measures.reliability import ReliabilityBin
from model_store.bundle.diagram import DiagramScale, diagram_file, reliability_diagram
from monitoring.pages.csv_text import BINS_HEADER, Row, bin_rows, csv_text


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
    """Draw a diagram; `of` names its answers, `name` its files, without suffix, `scale` the axes
    that it shares.
    """
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
