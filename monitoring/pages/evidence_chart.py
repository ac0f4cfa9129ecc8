"""The drift watch's evidence as a bar: against what an alarm needs, with the usual range of
calibrated models.
"""

from typing import NamedTuple

from markupsafe import Markup

from model_store.bundle.diagram import file_style
from monitoring.findings.drift import Drift
from monitoring.findings.looks import CalmEvidence
from monitoring.pages.formatting import span, whole_percent
from monitoring.pages.rendering import render


class EvidenceBar(NamedTuple):
    """The evidence as a share of what an alarm needs, in [0, 1], and where nine in ten calibrated
    models stand.
    """

    share: float
    usual: CalmEvidence | None
    described: str


def evidence_bar(drift: Drift, share: float, usual: CalmEvidence | None) -> EvidenceBar:
    """Describe the evidence after `drift.labels` labels."""
    now = "alarm" if drift.active else f"{whole_percent(share)} of the evidence that an alarm needs"
    described = f"Evidence of drift: {now}."
    if usual is not None:
        between = span(whole_percent(usual.lower), whole_percent(usual.upper))
        described += f" After as many labels, {between} is usual."
    return EvidenceBar(share, usual, described)


def evidence_chart(bar: EvidenceBar) -> Markup:
    """Draw the bar, as wide as there is room."""
    return render("evidence.svg", bar=bar, own_style=None)


def evidence_file(bar: EvidenceBar) -> Markup:
    """Return the same drawing as an SVG file of its own, with its scale."""
    return render("evidence.svg", bar=bar, own_style=file_style())
