"""What `candor recalibrate` prints: how the remedies compared, and before and after on held-out
labels.
"""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from calibration.measures.reliability import ReliabilityBin
from candor.terminal.measures import MEASURES_COLUMNS, measures_row
from candor.terminal.remedies import remedy_table
from candor.terminal.tables import figure, interval, table
from monitoring.findings.recalibration_preview import ClassRow, RecalibrationPreview


def recalibration_tables(shown: RecalibrationPreview) -> list[RenderableType]:
    """Return the parts of a recalibration in the order in which they are printed."""
    return [
        f"{shown.sentence}\n",
        *remedy_table(shown.choice, unchanged="as served"),
        *_held_out_tables(shown),
        *note_lines(shown),
    ]


def note_lines(shown: RecalibrationPreview) -> list[str]:
    """Return what has to be known before the version is promoted, a line each."""
    return [f"Note: {line}" for line in (shown.changes, *shown.notes)]


def _held_out_tables(shown: RecalibrationPreview) -> list[RenderableType]:
    """Return measures, reliability and classes before and after, on the labels that were not used
    to fit.
    """
    measured = {"as served": shown.before, "recalibrated": shown.after}
    rows = [measures_row(name, each.as_dict()) for name, each in measured.items()]
    return [
        "",
        table(f"On {shown.held_out} held-out labels", MEASURES_COLUMNS, rows),
        "",
        table(
            "Reliability",
            (
                "confidence",
                "n",
                "accuracy",
                "95 % interval",
                "n after",
                "accuracy after",
                "95 % interval",
            ),
            list(_bins(shown)),
        ),
        "",
        class_table(shown.classes),
        "",
    ]


def class_table(classes: Sequence[ClassRow]) -> RenderableType:
    """Return sensitivity, specificity and gap of each class, before and after."""
    rows = [
        [
            each.name,
            str(each.labels),
            _change(each.sensitivity),
            _change(each.specificity),
            _change(each.gap, sign=True),
        ]
        for each in classes
    ]
    return table("Classes", ("", "n", "sensitivity", "specificity", "confidence - accuracy"), rows)


def _change(pair: tuple[float, float], *, sign: bool = False) -> str:
    return f"{figure(pair[0], sign=sign)} -> {figure(pair[1], sign=sign)}"


def _bins(shown: RecalibrationPreview) -> Iterator[list[str]]:
    for before, after in zip(shown.served, shown.recalibrated, strict=True):
        if before.n or after.n:
            yield [f"({before.lower:.2f}, {before.upper:.2f}]", *_bar(before), *_bar(after)]


def _bar(row: ReliabilityBin) -> list[str]:
    return [str(row.n), figure(row.accuracy), interval(row.accuracy_lower, row.accuracy_upper)]
