"""What `candor calibrate` prints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType

from calibration.calibrators.portable import Subject
from calibration.examination import ClassFigures, Examination
from calibration.findings.examination import FindingsExamination
from calibration.findings.thresholds import ObservedRate
from calibration.measures.reliability import reliability
from calibration.wording import in_points, percent, percents, signed_points
from candor.predictions.calibration import Calibration
from candor.predictions.findings_calibration import FINDING_WORDS, FindingsCalibration
from candor.predictions.labeled import Predictions
from candor.predictions.sentences import calibrator_sentence, remedy_title
from candor.terminal.recalibration import remedy_table
from candor.terminal.tables import (
    MEASURES_COLUMNS,
    FigureTable,
    change,
    figure,
    interval,
    measures_row,
    reliability_table,
)

CLASSES_SHOWN = 30
FINDING_COLUMNS = ("", "", "labels", "positives", "ECE", "floor", "O/E", "AUROC", "AUPRC")
POINT_COLUMNS = ("", "T", "bias", "threshold", "sensitivity", "specificity", "PPV")


def preview_lines(read: Predictions) -> Iterator[str]:
    """Yield what was taken for what, and an example: the first row as it was understood."""
    for role, columns in read.taken:
        yield f"  {role}: {columns}"
    yield from read.example()


def _findings_tables(done: FindingsCalibration) -> list[RenderableType]:
    """Measures, calibrators, thresholds, notes."""
    found = done.examination
    rows = [
        [
            each.name,
            FINDING_WORDS[each.standing],
            f"{each.given.labeled:,}",
            f"{each.given.positives:,}",
            change(each.given.ece, each.effect.measures.ece if each.effect else None),
            percent(each.given.ece_floor),
            figure(each.given.observed_expected, 2),
            figure(each.given.auroc),
            figure(each.given.auprc),
        ]
        for each in found.findings
    ]
    given, after = found.given, found.calibrated
    means = [figure(given[name]) for name in ("auroc", "auprc")]
    ece = change(given["ece"], after["ece"] if found.calibrator.method != "none" else None)
    rows.append(["mean", "", "", "", ece, percent(given["ece_floor"]), "", *means])
    return [
        f"\n{done.verdict}\n",
        FigureTable("Findings; ECE -> cross-fitted", FINDING_COLUMNS, rows),
        "",
        FigureTable("Present from the threshold on, 95 % intervals", POINT_COLUMNS, _points(found)),
        "",
        *(f"Note: {note}" for note in done.notes),
    ]


def _points(found: FindingsExamination) -> list[list[str]]:
    return [
        [
            each.name,
            figure(each.calibrator.temperature) if each.effect else "-",
            figure(each.calibrator.bias[0], sign=True) if each.effect else "-",
            percent(each.point.threshold, 2),
            *map(_rate, (each.point.sensitivity, each.point.specificity, each.point.ppv)),
        ]
        for each in found.findings
        if each.point is not None
    ]


def _rate(rate: ObservedRate | None) -> str:
    return "-" if rate is None else f"{percent(rate.value)} ({percents(rate.lower, rate.upper)})"


def _tables(done: Calibration) -> list[RenderableType]:
    found = done.examination
    remedies = _remedies(found)
    return [
        f"\n{done.verdict}\n",
        f"{calibrator_sentence(found)}\n",
        FigureTable("Measures", MEASURES_COLUMNS, list(_measures(found))),
        "",
        *_classes(found),
        reliability_table("Reliability, as given", reliability(found.given.sums)),
        "",
        *remedies,
        *([""] if remedies else []),
        *(f"Note: {note}" for note in done.notes),
    ]


def _remedies(found: Examination) -> list[RenderableType]:
    if found.fit is None:
        return []
    by_class = found.of == "probabilities"
    return remedy_table(
        found.fit.choice,
        unchanged="as given",
        title=lambda name: remedy_title(name, found.of),
        by_class=by_class,
    )


def _measures(found: Examination) -> Iterator[list[str]]:
    yield measures_row("as given", found.given.measures.as_dict())
    if found.effect is not None:
        if found.effect.fit.judged == "held-out":
            yield measures_row("as given, held-out rows", found.effect.before.measures.as_dict())
        yield measures_row(
            f"calibrated, {found.effect.fit.judged}", found.effect.after.measures.as_dict()
        )


def _classes(found: Examination) -> list[RenderableType]:
    before: Sequence[ClassFigures] = found.effect.classes_before if found.effect else found.classes
    after: Sequence[ClassFigures | None] = (
        found.effect.classes_after if found.effect else [None] * len(before)
    )
    rows = [
        [
            old.name,
            f"{old.labels:,}",
            f"{old.answers:,}",
            change(old.sensitivity, new.sensitivity if new else None),
            change(old.specificity, new.specificity if new else None),
            change(old.gap, new.gap if new else None, in_points),
            interval(*old.gap_interval, signed_points),
        ]
        for old, new in list(zip(before, after, strict=True))[:CLASSES_SHOWN]
    ]
    if not rows:
        return []
    columns = (
        "",
        "labels",
        "answers",
        "sensitivity",
        "specificity",
        "confidence - accuracy",
        "95 % interval, as given",
    )
    more = len(before) - CLASSES_SHOWN
    return [
        FigureTable("Classes", columns, rows),
        *([f"and {more:,} more"] if more > 0 else []),
        "",
    ]


_TABLES: Final[Mapping[Subject, Callable[[Any], list[RenderableType]]]] = {
    "probabilities": _tables,
    "confidence": _tables,
    "findings": _findings_tables,
}


def examined_tables(done: Calibration | FindingsCalibration) -> list[RenderableType]:
    """Return what is printed of examined predictions, from top to bottom."""
    return _TABLES[done.calibrator.of](done)
