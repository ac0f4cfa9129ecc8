"""All models at a glance, each with its status."""

from collections.abc import Sequence

from monitoring.findings.accuracy import AccuracyAnswer
from monitoring.findings.status import Status
from monitoring.pages.model_page import REFRESH_S
from monitoring.pages.rendering import render
from monitoring.pages.sections import evidence
from monitoring.pages.status_words import ACCURACY_TONES, ACCURACY_WORDS, SHORT_WORDS
from monitoring.reports.report import Report

_WORST_FIRST = (Status.ALARM, Status.OFF, Status.PARTLY, Status.EARLY, Status.NO_LABELS, Status.OK)


def _seriousness(report: Report) -> tuple[int, str]:
    lower = report.accuracy.answer is AccuracyAnswer.LOWER and report.status is not Status.ALARM
    return _WORST_FIRST.index(Status.OFF if lower else report.status), report.model


def index_page(reports: Sequence[Report]) -> str:
    """Render one row per model, the most serious status first."""
    ordered = sorted(reports, key=_seriousness)
    rows = [(report, evidence(report.drift)) for report in ordered]
    return render(
        "models.html",
        rows=rows,
        short_words=SHORT_WORDS,
        accuracy_tones=ACCURACY_TONES,
        accuracy_words=ACCURACY_WORDS,
        refresh_s=REFRESH_S,
    )
