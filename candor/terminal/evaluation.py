"""Measures of a run and of a precision, as tables: for `candor train` and `candor export`."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from calibration.calibrators.temperature import HIGHEST, LOWEST, at_bound
from calibration.wording import percent
from candor.terminal.tables import MEASURES_COLUMNS, FigureTable, figure, measures_row, table
from model_store.bundle.card import Card
from training.evaluation.evaluation import (
    EVALUATED,
    FITTED_ON,
    PROMISED_ACCURACY,
    EvaluatedSplit,
    Evaluation,
    Method,
    temperature_of,
)

# what candor export can put into a graph
TEMPERATURES: dict[Method, str] = {
    "temperature": "temperature",
    "perturbed": "perturbed temperature",
}
# what candor export can put into a graph
SHOWN: tuple[Method, ...] = ("uncalibrated", *TEMPERATURES)
LEGEND = "* was fitted on this split, so its figures look too good; read test\n"


def evaluation_tables(evaluation: Evaluation) -> list[RenderableType]:
    """Return the measures of validation and test, and how the promises of the card were kept."""
    rows = [
        measures_row(f"{split}, {method}{_mark(split, method)}", measures.as_dict())
        for split in EVALUATED
        for method, measures in evaluation.measures[split].items()
        if method in SHOWN
    ]
    promises = evaluation.promises("temperature")
    return [
        table(f"Temperature {evaluation.temperature:.3f}", MEASURES_COLUMNS, rows),
        LEGEND,
        *temperature_notes(evaluation),
        _referral(promises["referral"]),
        _prediction_sets(promises["conformal"]),
    ]


def temperature_notes(evaluation: Evaluation) -> list[str]:
    """Return a sentence for each temperature that is a bound of the search."""
    known = [method for method in TEMPERATURES if method in evaluation.calibrators]
    notes = []
    if evaluation.temperature == 1:
        notes.append(
            "The temperature is 1: the validation labels do not show that confidence is too low."
        )
    return notes + [
        note
        for method in known
        for note in bound_notes(
            temperature_of(evaluation.calibrators[method]), name=TEMPERATURES[method]
        )
    ]


def bound_notes(temperature: float, *, name: str = "temperature") -> list[str]:
    """Return what has to be known about a temperature: whether it is a bound of the search."""
    if not at_bound(temperature):
        return []
    return [
        f"Note: the {name} {temperature:g} is a bound of its range ({LOWEST:g} to {HIGHEST:g}), so "
        "the validation labels do not determine it: they are too few, or nearly all wrong. Do not "
        "rely on its confidence."
    ]


def _mark(split: EvaluatedSplit, method: Method) -> str:
    return " *" if method in TEMPERATURES and FITTED_ON.get(method, "val") == split else ""


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


_COLUMNS = (
    "precision",
    "accuracy",
    "ECE",
    "temperature",
    "same class as float32",
    "largest difference",
)


def variant_table(card: Card) -> FigureTable:
    """Show what each precision of `card` was measured to be."""
    rows = [["float32", *_measured(card), "", ""]]
    for each in card.variants or ():
        measured = _measured(card.of_variant(each.precision))
        rows.append(
            [each.precision, *measured, percent(each.agreement, 2), figure(each.max_difference)]
        )
    return table(
        f"Precisions, on the {card.calibration.reference_split} split",
        _COLUMNS,
        rows,
        text=("precision",),
    )


def _measured(card: Card) -> list[str]:
    measures = card.calibration.measures
    return [
        percent(measures.get("accuracy"), 2),
        percent(measures.get("ece"), 2),
        figure(card.calibration.temperature),
    ]
