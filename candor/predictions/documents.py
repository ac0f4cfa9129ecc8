"""What an examination shows, as a document: for the terminal, a page and a notebook."""

from collections.abc import Iterator, Sequence
from typing import Final

from calibration.bins import BinSums
from calibration.document import Diagram, FigureTable, Items, Part, Verdict
from calibration.examination import ClassFigures, Examination
from calibration.figures import (
    MEASURES_COLUMNS,
    change,
    figure,
    interval,
    measures_row,
    reliability_table,
    remedy_table,
)
from calibration.findings.examination import FindingsExamination
from calibration.findings.thresholds import ObservedRate
from calibration.measured import Standing
from calibration.measures.reliability import reliability
from calibration.wording import in_points, percent, percents, signed_points
from candor.predictions.sentences import (
    FINDING_WORDS,
    WORDS,
    calibrator_sentence,
    remedy_title,
    verdict,
)

CLASSES_SHOWN = 30
_TONES: Final = {Standing.TOO_FEW: "early", Standing.NOT_SHOWN: "ok"}  # others are off
_RELY: Final = "Before you rely on it"
_CLASSES: Final = (
    *("", "labels", "answers", "sensitivity", "specificity", "confidence - accuracy"),
    "95 % interval, as given",
)
_FINDINGS: Final = ("", "", "labels", "positives", "ECE", "floor", "O/E", "AUROC", "AUPRC")
_POINTS: Final = ("", "T", "bias", "threshold", "sensitivity", "specificity", "PPV")


def calibration_document(found: Examination, notes: Sequence[str]) -> list[Part]:
    """Return verdict, calibrator, diagrams, measures and notes."""
    given, effect = reliability(found.given.sums), found.effect
    tone = _TONES.get(found.standing, "off")
    return [
        Verdict(WORDS[found.standing], verdict(found), tone),
        Verdict("Calibrator" if effect else "Left alone", calibrator_sentence(found)),
        Diagram("As given", given),
        *([_calibrated(effect.after.sums)] if effect else []),
        FigureTable("Measures", MEASURES_COLUMNS, list(_measures(found))),
        *_classes(found),
        reliability_table("Reliability, as given", given),
        *_remedies(found),
        Items(notes, _RELY),
    ]


def findings_document(found: FindingsExamination, said: str, notes: Sequence[str]) -> list[Part]:
    """Return verdict, measures, thresholds and notes."""
    given, after = found.given, found.calibrated
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
    means = [figure(given[name]) for name in ("auroc", "auprc")]
    ece = change(given["ece"], after["ece"] if found.calibrator.method != "none" else None)
    rows.append(["mean", "", "", "", ece, percent(given["ece_floor"]), "", *means])
    return [
        said,
        FigureTable("Findings; ECE -> cross-fitted", _FINDINGS, rows),
        FigureTable("Present from the threshold on, 95 % intervals", _POINTS, _points(found)),
        Items(notes, _RELY),
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


def _remedies(found: Examination) -> list[Part]:
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


def _classes(found: Examination) -> list[Part]:
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
    more = len(before) - CLASSES_SHOWN
    return [FigureTable("Classes", _CLASSES, rows), *([f"and {more:,} more"] if more > 0 else [])]


def _calibrated(sums: BinSums) -> Diagram:
    return Diagram("Calibrated, on rows it has not seen", reliability(sums))
