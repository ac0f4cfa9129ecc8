"""The result as documentation: tables between marks in docs/benchmarks.md, and a picture."""

import re
from pathlib import Path

import matplotlib
from matplotlib import pyplot

from benchmarks.serving.goals import goals
from benchmarks.serving.report import Result, overview

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- serving: begin, written by the command -->", "<!-- serving: end -->"
OURS_COLOR, OTHERS_COLOR, RAW_COLOR = "#0b6e8f", "#b9c2c9", "#c2571a"


def write_page(result: Result, *, machine: str, seconds: float, rounds: int) -> None:
    """Replace the text between the marks, and the picture."""
    page = DOCS / "benchmarks.md"
    told = (
        f"{machine}; {seconds:g} s per measurement, medians of {rounds} rounds. Each round starts "
        "every server again, "
        "and measures ONNX Runtime alone before and after."
    )
    parts = [
        BEGIN,
        told,
        "![Throughput of each server](images/serving.png)",
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
    draw(result, DOCS / "images" / "serving.png")


def draw(result: Result, file: Path) -> None:
    """Bars of requests per second at 16 connections, with raw ONNX Runtime as a line."""
    matplotlib.use("Agg")
    subjects = list(dict.fromkeys(subject for subject, _ in result))
    columns = min(2, len(subjects))
    lines = -(-len(subjects) // columns)
    figure, panels = pyplot.subplots(
        lines, columns, figsize=(5.2 * columns, 3.8 * lines), squeeze=False
    )
    for panel in panels.flat[len(subjects) :]:
        panel.set_axis_off()
    for panel, subject in zip(panels.flat, subjects, strict=False):
        rows = [(server, row) for (name, server), row in result.items() if name == subject]
        rates = [row["loads"].get("16", {}).get("requests_per_s", 0.0) for _, row in rows]
        colors = [OURS_COLOR if server.startswith("candor") else OTHERS_COLOR for server, _ in rows]
        bars = panel.barh([row["title"] for _, row in rows], rates, color=colors)
        panel.bar_label(
            bars, [f"{rate:,.0f}" if rate else "failed" for rate in rates], padding=3, fontsize=8
        )
        if subject == "resnet18":  # for the tiny model the line would be far to the right
            panel.axvline(
                max(row["raw"]["16"] for _, row in rows),
                color=RAW_COLOR,
                linewidth=1,
                label="ONNX Runtime alone",
            )
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
        panel.invert_yaxis()
        panel.margins(x=0.15)
        panel.set_title(f"{subject}: requests/s at 16", fontsize=10)
        panel.locator_params(axis="x", nbins=5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
