"""Averages over data sets and networks, and the cut of the average ECE against cross-entropy
alone.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from training.experiments.paper import MISPRINTS, ROWS, averages
from training.experiments.summary import BASELINE, MethodSummary
from training.experiments.table import ResultTable, format_number


def average_table(summaries: Sequence[MethodSummary], notes: Sequence[str] = ()) -> ResultTable:
    """Averages over data sets and networks, and the cut of the average ECE against cross-entropy
    alone.
    """
    pairs = {line.pair for line in summaries}
    by_method: dict[tuple[str, str], list[MethodSummary]] = {}
    for line in summaries:
        by_method.setdefault((line.method, line.calibrator), []).append(line)
    base = {line.pair: line.figures["ece"].mean for line in by_method.get(BASELINE, [])}
    rows = [
        _average_row(f"{method}, {calibrator}", lines, base)
        for (method, calibrator), lines in by_method.items()
        if {line.pair for line in lines} == pairs
    ]
    return ResultTable(
        "averages",
        f"Averages over {len(pairs)} data sets and networks",
        (
            "method, calibrator",
            "ECE",
            "cut %",
            "cut by row %",
            "largest z",
            "accuracy",
            "MCE",
            "NLL",
        ),
        (*rows, *_paper_averages()),
        (*notes, *MISPRINTS),
    )


def _average_row(
    title: str, lines: Sequence[MethodSummary], base: Mapping[tuple[str, str], float]
) -> tuple[str, ...]:
    def mean(figure: str) -> float:
        return fmean(line.figures[figure].mean for line in lines)

    cut = 1 - mean("ece") / fmean(base.values()) if base else None
    by_row = (
        fmean(1 - line.figures["ece"].mean / base[line.pair] for line in lines) if base else None
    )
    largest = max(line.figures["ece_z"].mean for line in lines)
    return (
        title,
        format_number(mean("ece"), 4),
        _percent(cut),
        _percent(by_row),
        f"{largest:.1f}",
        format_number(mean("accuracy"), 4),
        format_number(mean("mce"), 4),
        format_number(mean("nll")),
    )


def _paper_averages() -> list[tuple[str, ...]]:
    known = averages()
    made: list[tuple[str, ...]] = []
    for index, (title, accuracy) in enumerate(
        (
            ("ce, none", known.accuracy[0]),
            ("ce, temperature", known.accuracy[0]),
            ("dca, none", known.accuracy[1]),
        )
    ):
        cut = 1 - known.ece[index] / known.ece[0]
        by_row = fmean(1 - row.ece[index] / row.ece[0] for row in ROWS)
        note = "³" if index == 2 else ""  # of MISPRINTS
        made.append(
            (
                f"paper: {title}",
                format_number(known.ece[index], 4) + ("⁵" if index == 2 else ""),
                _percent(cut) + note,
                _percent(by_row) + note,
                "-",
                format_number(accuracy, 4) + ("⁴" if index == 2 else ""),
                format_number(known.mce[index], 4) + "¹ ²",
                "-",
            )
        )
    return made


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
