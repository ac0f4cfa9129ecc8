"""A recalibration before it is published: what it does on held-out labels."""

from dataclasses import astuple
from typing import Any

from calibration.calibrators.remedies import REMEDIES, title_of
from calibration.measures.summary import Measures
from model_store.bundle.diagram import scale_of
from monitoring.diagnosis.vocabulary import terms
from monitoring.recalibration.preview import RecalibrationPreview
from monitoring.recalibration.subgroup import name_of
from serving.pages.files import Row, filed_diagram, held_csv
from serving.pages.rendering import render

_MEASURES = (
    *("n", "accuracy", "mean_confidence", "signed_gap", "signed_gap_lower", "signed_gap_upper"),
    *("ece", "ece_lower", "ece_upper", "noise_floor"),
)
_CLASSES = (
    *("class", "labels", "sensitivity_before", "sensitivity_after"),
    *("specificity_before", "specificity_after", "signed_gap_before", "signed_gap_after"),
)
_EFFECTS = ("subgroup", "labels", "signed_gap_before", "signed_gap_after", "worse")
_TRIAL = ("name", "parameters", "improvement", "standard_error", "classwise_gap", "excluded")


def recalibration_page(shown: RecalibrationPreview) -> str:
    """Render the page as a document."""
    return render("recalibration.html", **recalibration_values(shown))


def recalibration_values(shown: RecalibrationPreview) -> dict[str, Any]:
    """The values of `sections/recalibration.html`, for the document and the page."""
    of, scale = "held-out answers", scale_of([shown.served, shown.recalibrated])
    measures = [_measures("as served", shown.before), _measures("recalibrated", shown.after)]
    classes = [astuple(each) for each in shown.classes]
    effects = [(name_of(each.group), *astuple(each)[1:]) for each in shown.effects]
    trials = [
        (*(getattr(each, column) for column in _TRIAL), each.name == shown.choice.chosen)
        for each in shown.choice.trials
    ]
    return {
        "shown": shown,
        "effects": effects,
        "remedies": {name: title_of(name, of_one=terms(shown.finding).of_one) for name in REMEDIES},
        "diagrams": [
            filed_diagram(f"recalibration-{name}", heading, bins, of=of, scale=scale)
            for name, heading, bins in (
                ("as-served", "As served", shown.served),
                ("recalibrated", "Recalibrated", shown.recalibrated),
            )
        ],
        "files": {
            "measures": held_csv("recalibration-measures", ("", *_MEASURES), measures),
            "classes": held_csv("recalibration-classes", _CLASSES, classes),
            "effects": held_csv("recalibration-subgroups", _EFFECTS, effects),
            "remedies": held_csv("recalibration-remedies", (*_TRIAL, "chosen"), trials),
        },
    }


def _measures(name: str, measures: Measures) -> Row:
    return (name, *(getattr(measures, each) for each in _MEASURES))
