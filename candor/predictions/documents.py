"""What an examination says and shows: in the terminal, on a page and in a notebook."""

from collections.abc import Iterator, Sequence
from typing import Final

from calibration.bins import BinSums
from calibration.calibrators.portable import Subject
from calibration.calibrators.remedies import CASE_MIX, title_of
from calibration.document import Diagram, FigureTable, Items, Part, Verdict
from calibration.examination import ClassFigures, Effect, Examination
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
from calibration.measures.metrics import SMALLEST
from calibration.measures.reliability import reliability
from calibration.wording import (
    counted,
    in_points,
    parameter,
    percent,
    percents,
    points,
    signed_points,
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


WORDS = {
    Standing.TOO_FEW: "Too few rows to say",
    Standing.OVERCONFIDENT: "Overconfident",
    Standing.UNDERCONFIDENT: "Underconfident",
    Standing.UNEVEN: "Miscalibrated",
    Standing.NOT_SHOWN: "No miscalibration shown",
}

FINDING_WORDS: Final = {
    Standing.TOO_FEW: "too few rows to say",
    Standing.OVERCONFIDENT: "probabilities too high",
    Standing.UNDERCONFIDENT: "probabilities too low",
    Standing.UNEVEN: "miscalibrated",
    Standing.NOT_SHOWN: "no miscalibration shown",
}


def remedy_title(name: str, of: Subject) -> str:
    """The name of a remedy; without a reference, a bias is no correction of a case mix."""
    of_one = of == "confidence"
    is_bias = name == CASE_MIX.name and not of_one
    return "one bias per class" if is_bias else title_of(name, of_one=of_one)


def verdict(found: Examination) -> str:
    """Say how calibrated the predictions are, and what is not known."""
    measures, interval = found.given.measures, found.given.chance.gap
    bounds = f"{100 * interval.lower:+.1f} to {100 * interval.upper:+.1f} points"
    if found.standing is Standing.TOO_FEW:
        few = (
            counted(found.given.sums.total, "row")
            if found.groups is None
            else counted(found.groups, "group")
        )
        return (
            f"{few[:1].upper()}{few[1:]} say nothing about calibration yet: the 95 % interval of "
            f"confidence minus accuracy is {bounds}."
        )
    level = (
        f"ECE is {percent(measures.ece)}; perfectly calibrated predictions would show about "
        f"{percent(measures.noise_floor)} on as many rows."
    )
    if found.standing in (Standing.OVERCONFIDENT, Standing.UNDERCONFIDENT):
        return (
            f"On average {percent(measures.mean_confidence)} confident and right "
            f"{percent(measures.accuracy)} of the time. Confidence minus accuracy is {bounds} (95 "
            f"% interval). {level}"
        )
    if found.standing is Standing.UNEVEN:
        return (
            f"Confidence and accuracy agree on average ({percent(measures.mean_confidence)} and "
            f"{percent(measures.accuracy)}), but not answer by answer. {level}"
        )
    return f"{level} The labels do not exclude a true ECE of up to {percent(measures.ece_upper)}."


def calibrator_sentence(found: Examination) -> str:
    """Say what was fitted and what it does on unseen rows, or why nothing was fitted."""
    if found.effect is not None:
        return _effect(found, found.effect)
    if found.fit is None:
        return f"No calibrator was fitted: {found.refused}."
    if found.fit.choice.chosen is not None:
        title = remedy_title(found.fit.choice.chosen, found.of)
        return (
            f"{title[:1].upper()}{title[1:]} looks best of the remedies. But choosing and fitting "
            "it without the rows that judge it did not improve those, so the predictions are left "
            "alone."
        )
    return (
        "No calibrator improves predictions that it has not seen by more than chance: they are "
        "left alone."
    )


def notes(found: Examination) -> Iterator[str]:
    """Yield what to know before relying on it."""
    fit, effect = found.fit, found.effect
    if zeros := found.given.measures.nll_zeros:
        smallest = found.calibrator.smallest
        why = "as in scikit-learn" if smallest == SMALLEST else "a quarter of the last decimal"
        yield (
            f"{counted(int(zeros), 'row')} with a probability of 0 for the true class: every NLL "
            f"here counts a 0 as {smallest:.2g}, {why}."
        )
    if effect is not None and effect.changed:
        yield (
            f"The calibrator changes the predicted class of {effect.changed:,} of "
            f"{effect.after.measures.n:,} rows. Whether its sensitivity and specificity are "
            "acceptable is a clinical decision."
        )
    if fit is not None and fit.choice.better is not None:
        richer = remedy_title(fit.choice.better, found.of).capitalize()
        yield (
            f"{richer} would improve more, but may change the predicted class. Look at it with "
            f"{parameter('allow_label_changes', True)}."
        )
    if effect is not None and effect.after.chance.ece.lower > 0:
        yield (
            "The calibrated rows still show some miscalibration: no remedy that was tried fits "
            "them exactly."
        )
    if effect is not None and (worse := _worse_class(effect)):
        yield worse
    if found.groups is not None:
        yield (
            "Rows of one group are kept together in fits and intervals "
            f"({counted(found.groups, 'group')})."
        )
    else:
        yield (
            "Rows count as independent. If several belong to one patient, name the column with "
            f"{parameter('groups')}, or intervals are too short."
        )
    yield (
        "All figures hold for cases like these rows, if labels were not chosen by the answer. Rows "
        "that the model was trained on make it look better than it is."
    )


def _effect(found: Examination, effect: Effect) -> str:
    title, judged = remedy_title(found.calibrator.method, found.of), effect.fit
    how = (
        f"On {counted(effect.after.measures.n, 'row')} that were held out from the fit"
        if judged.judged == "held-out"
        else f"Cross-fitted, so that each of the {counted(effect.after.measures.n, 'row')} is "
        "judged by a calibrator that has not seen it"
    )
    before, after = effect.before.measures, effect.after.measures
    return (
        f"{title[:1].upper()}{title[1:]} was fitted on "
        f"{counted(judged.fitted_on, 'row')}{_numbers(found)}. {how}, ECE goes from "
        f"{percent(before.ece)} to {percent(after.ece)} (floor {percent(after.noise_floor)}) and "
        f"confidence minus accuracy from {points(before.signed_gap)} to {points(after.signed_gap)}."
    )


def _numbers(found: Examination) -> str:
    weight = found.calibrator.affine.weight
    return (
        f" (T = {1 / weight[0]:.2f})"
        if len(set(weight)) == 1 and found.calibrator.method != "case_mix"
        else ""
    )


def _worse_class(effect: Effect) -> str | None:
    """The class whose error grows most, if one grows beyond what it was anywhere before."""
    before = {each.name: abs(each.gap) for each in effect.classes_before if each.answers}
    after = {each.name: abs(each.gap) for each in effect.classes_after if each.answers}
    if not before or not after or max(after.values()) <= max(before.values()):
        return None
    name = max(after, key=lambda each: after[each])
    return (
        f'The error of answers of "{name}" grows from {points(before.get(name, 0.0))} to '
        f"{points(after[name])}: what helps on average does not help this class. More labels of "
        f"it, or {parameter('allow_label_changes', True)}, may help."
    )
