"""A recalibration before it is published: what it does on held-out labels, in one file without scripts."""

from typing import Any

from calibration.remedies import REMEDIES
from model_store.diagram import reliability_diagram
from monitoring.findings.recalibration_preview import RecalibrationPreview
from monitoring.pages.rendering import render


def recalibration_page(shown: RecalibrationPreview) -> str:
    """Render the page as a document."""
    return render("recalibration.html", **recalibration_values(shown))


def recalibration_values(shown: RecalibrationPreview) -> dict[str, Any]:
    """The values of `sections/recalibration.html`, which the document and the console's page share."""
    drawn = {"As served": shown.served, "Recalibrated": shown.recalibrated}
    return {
        "shown": shown,
        "remedies": REMEDIES,
        "diagrams": [(name, reliability_diagram(bins, of="held-out answers"), bins) for name, bins in drawn.items()],
    }
