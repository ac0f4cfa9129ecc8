"""A recalibration before it is published: what it does on held-out labels."""

from dataclasses import astuple
from typing import Any

from calibration.calibrators.remedies import REMEDIES, title_of
from model_store.bundle.diagram import reliability_diagram, scale_of
from monitoring.diagnosis.vocabulary import terms
from monitoring.recalibration.preview import RecalibrationPreview
from monitoring.recalibration.subgroup import name_of
from serving.pages.rendering import render


def recalibration_page(shown: RecalibrationPreview) -> str:
    return render("recalibration.html", **recalibration_values(shown))


def recalibration_values(shown: RecalibrationPreview) -> dict[str, Any]:
    """The values of `sections/recalibration.html`, for the document and the page."""
    scale = scale_of([shown.served, shown.recalibrated])
    return {
        "shown": shown,
        "effects": [(name_of(each.group), *astuple(each)[1:]) for each in shown.proposal.effects],
        "remedies": {name: title_of(name, of_one=terms(shown.finding).of_one) for name in REMEDIES},
        "diagrams": [
            (heading, reliability_diagram(bins, of="held-out answers", scale=scale), bins)
            for heading, bins in (
                ("As served", shown.served),
                ("Recalibrated", shown.recalibrated),
            )
        ],
    }
