"""A recalibration before it is published: what it does on held-out labels."""

from typing import Any

from calibration.calibrators.remedies import REMEDIES, title_of
from console.effect_chart import SHOWN, TONES, effect_chart
from console.rendering import render
from model_store.bundle.diagram import reliability_diagram, scale_of
from monitoring.diagnosis.vocabulary import terms
from monitoring.recalibration.preview import Fate, RecalibrationPreview


def recalibration_page(shown: RecalibrationPreview) -> str:
    return render("recalibration.html", **recalibration_values(shown))


def recalibration_values(shown: RecalibrationPreview) -> dict[str, Any]:
    """The values of `sections/recalibration.html`, for the document and the page."""
    scale = scale_of([shown.served, shown.recalibrated])
    chart = effect_chart(shown.fates, terms(shown.finding).gap)
    return {
        "shown": shown,
        "tone": _tone(shown),
        "tones": TONES,
        "chart": chart,
        "left_out": len(shown.fates) > SHOWN
        or any(each is Fate.UNCHANGED for each, _ in shown.fates),
        "remedies": {name: title_of(name, of_one=terms(shown.finding).of_one) for name in REMEDIES},
        "diagrams": [
            (heading, reliability_diagram(bins, of="held-out answers", scale=scale), bins)
            for heading, bins in (
                ("As served", shown.served),
                ("Recalibrated", shown.recalibrated),
            )
        ],
    }


def _tone(shown: RecalibrationPreview) -> str:
    if shown.proposal.harmed:
        return "off"
    return "ok" if shown.mends else "accent"
