"""All models at a glance, each with its status."""

from collections.abc import Sequence

from monitoring.findings.status import Status
from monitoring.pages.model_page import REFRESH_S
from monitoring.pages.rendering import render
from monitoring.pages.sections import evidence
from monitoring.pages.status_words import SHORT_WORDS
from monitoring.reports.report import Report

_WORST_FIRST = (Status.ALARM, Status.OFF, Status.EARLY, Status.NO_LABELS, Status.OK)


def index_page(reports: Sequence[Report]) -> str:
    """Render one row per model, the most serious status first."""
    ordered = sorted(reports, key=lambda report: (_WORST_FIRST.index(report.status), report.model))
    rows = [(report, evidence(report.drift)) for report in ordered]
    return render("models.html", rows=rows, short_words=SHORT_WORDS, refresh_s=REFRESH_S)
