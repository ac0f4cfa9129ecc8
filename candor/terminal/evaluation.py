"""Measures of a run, as tables: for `candor train`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from calibration.document import FigureTable, Part
from calibration.figures import MEASURES_COLUMNS, figure, measures_row
from calibration.measures.confusion import KNOWN_IMAGES, recall_intervals, recalls
from calibration.wording import counted, in_points, parameter, percent, percents, signed_points
from training.evaluation.calibrators import Method
from training.evaluation.caveats import balanced_price
from training.evaluation.evaluation import PROMISED_ACCURACY, Evaluation
from training.evaluation.predictions import EVALUATED, EvaluatedSplit
from training.evaluation.usefulness import constant_answer

if TYPE_CHECKING:
    from training.runs.config import RunRecord

SHOWN: tuple[Method, ...] = ("none", "temperature")
COLUMNS = 10  # classes whose answers get a column each
HEADER = 14  # characters of a class name above a column
LEGEND = "* was fitted on this split, so its figures look too good; read test"


def evaluation_tables(evaluation: Evaluation) -> list[Part]:
    """Return the measures of validation and test, and how the promises of the card were kept."""
    rows = [
        measures_row(f"{split}, {method}{_mark(split, method)}", measures.as_dict())
        for split in EVALUATED
        for method, measures in evaluation.measures[split].items()
        if method in SHOWN
    ]
    promises = evaluation.promises("temperature")
    return [
        FigureTable(f"Temperature {evaluation.temperature:.3f}", MEASURES_COLUMNS, rows),
        LEGEND,
        *temperature_notes(evaluation),
        _referral(promises["referral"]),
        _prediction_sets(promises["conformal"]),
    ]


def class_tables(evaluation: Evaluation, record: "RunRecord") -> Iterator[Part]:
    """Yield the measures of a run, its answers by class, and what balanced weights cost."""
    yield from evaluation_tables(evaluation)
    yield from answer_tables(evaluation, record.classes)
    if record.config.class_weights == "balanced":
        yield price_sentence(evaluation, record.counts["train"])


def temperature_notes(evaluation: Evaluation) -> list[str]:
    """Say why confidence was not changed, if it was not."""
    if evaluation.temperature != 1:
        return []
    return [
        "The temperature is 1: the validation labels do not show that confidence is too low, or do "
        "not determine one."
    ]


def _mark(split: EvaluatedSplit, method: Method) -> str:
    return " *" if method == "temperature" and split == "val" else ""


def _referral(referral: Mapping[str, Any] | None) -> str:
    if referral is None:
        return (
            "Referral: no confidence threshold can promise an accuracy of "
            f"{percent(PROMISED_ACCURACY, 0)} on validation."
        )
    kept = "; ".join(
        f"{split} {percent(each['accuracy'])}, answering {percent(each['coverage'])} of images"
        for split, each in referral["kept"].items()
    )
    return (
        f"Referral below confidence {percent(referral['confidence'])}. Accuracy of the other "
        f"answers: promised {percent(referral['promised_accuracy'])}; {kept}."
    )


def _prediction_sets(sets: Mapping[str, Any]) -> str:
    kept = "; ".join(
        f"{split} {percent(each['coverage'])} with {figure(each['mean_set_size'], 2)} classes per "
        "set"
        for split, each in sets["kept"].items()
    )
    return (
        "Prediction sets. Share that contain the true class: promised "
        f"{percent(1 - sets['alpha'])}; {kept}."
    )


def answer_tables(evaluation: Evaluation, classes: Sequence[str]) -> list[Part]:
    """Return answers by true class on test, and the comparison with a constant answer.

    Of more than ten classes only those with the lowest recall are shown.
    """
    confusion = evaluation.confusion("test", "temperature")
    rows: list[tuple[float | None, list[str]]] = []
    known = zip(classes, confusion.tolist(), recalls(confusion), strict=True)
    for (name, counts, recall), ends in zip(known, recall_intervals(confusion), strict=True):
        shown = (
            [str(count) for count in counts]
            if len(classes) <= COLUMNS
            else [_mistakes(counts, name, classes)]
        )
        rows.append((recall, [name, str(sum(counts)), percent(recall), percents(*ends), *shown]))
    answered = (
        [_short(name) for name in classes] if len(classes) <= COLUMNS else ["most frequent mistake"]
    )
    title = (
        "Answers on test by true class (recall is the share of its images that got its answer; "
        f"unknown below {KNOWN_IMAGES} images)"
    )
    if len(rows) > COLUMNS:
        rows = sorted(rows, key=lambda row: 2.0 if row[0] is None else row[0])[:COLUMNS]
        title = f"Answers on test: the {COLUMNS} of {len(classes)} classes with the lowest recall"
    shown_rows = [row for _, row in rows]
    return [
        FigureTable(title, ("", "images", "recall", "95 % interval", *answered), shown_rows),
        _comparison(evaluation, classes),
    ]


def _comparison(evaluation: Evaluation, classes: Sequence[str]) -> str:
    constant = constant_answer(evaluation, "test", "temperature")
    unproven = (
        f", so these {counted(constant.images, 'image')} "
        f"{'does' if constant.images == 1 else 'do'} not show that the model is better"
        if constant.lead > 0 >= constant.lead_lower
        else ""
    )
    return (
        f"Accuracy on test {percent(constant.accuracy + constant.lead)}; always answering "
        f"{classes[constant.label]!r} would be right on {percent(constant.accuracy)}. Difference "
        f"{in_points(constant.lead)} (95 % interval {signed_points(constant.lead_lower)} to "
        f"{signed_points(constant.lead_upper)}){unproven}."
    )


def _mistakes(counts: Sequence[int], name: str, classes: Sequence[str]) -> str:
    """Return the wrong answer that a class got most often.

    >>> _mistakes([5, 1, 2], "a", ("a", "b", "c")), _mistakes([5, 0, 0], "a", ("a", "b", "c"))
    ('c (2)', '-')
    """
    wrong = [(count, other) for other, count in zip(classes, counts, strict=True) if other != name]
    count, other = max(wrong, key=lambda each: each[0])
    return f"{other} ({count})" if count else "-"


def _short(name: str) -> str:
    return name if len(name) <= HEADER else f"{name[: HEADER - 1]}…"


def price_sentence(evaluation: Evaluation, counts: Sequence[int]) -> str:
    """Return what balanced class weights give and cost on validation."""
    balanced, corrected = balanced_price(evaluation, counts)
    return (
        f"Balanced class weights answer as if all classes were equally frequent. On validation: "
        f"{balanced}. Corrected to the frequencies in the data: {corrected}. If the second suits "
        f"you better, train with {parameter('class_weights', 'natural')}."
    )
