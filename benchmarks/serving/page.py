"""The result as documentation: tables between marks in docs/benchmarks.md."""

import re
from pathlib import Path

from benchmarks.serving.goals import goals
from benchmarks.serving.report import Result, overview

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- serving: begin, written by the command -->", "<!-- serving: end -->"


def write_page(result: Result, *, machine: str, seconds: float, rounds: int) -> None:
    """Replace the text between the marks."""
    page = DOCS / "benchmarks.md"
    told = (
        f"{machine}; {seconds:g} s per measurement, medians of {rounds} rounds. Each round starts "
        "every server again, and measures ONNX Runtime alone before and after."
    )
    parts = [
        BEGIN,
        told,
        goals(result).strip(),
        overview(result).strip(),
        END,
    ]
    text = re.sub(
        f"{re.escape(BEGIN)}.*{re.escape(END)}",
        lambda _: "\n\n".join(parts),
        page.read_text(),
        flags=re.S,
    )
    page.write_text(text)
