"""All models at a glance, each with its status."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from calibration.wording import percent
from monitoring.api.viewer import EVERYONE, Viewer
from monitoring.findings.accuracy import AccuracyAnswer
from monitoring.findings.status import Status
from monitoring.pages.formatting import grouped
from monitoring.pages.model_page import REFRESH_S
from monitoring.pages.rendering import render
from monitoring.pages.status_words import ACCURACY_WORDS, advice_tone, title
from monitoring.reports.report import Report

_WORST_FIRST = (Status.ALARM, Status.OFF, Status.PARTLY, Status.EARLY, Status.NO_LABELS, Status.OK)


class ModelRow(NamedTuple):
    """A model on the page; `tone` is a class of the style sheet, `figures` are names and values."""

    report: Report
    tone: str
    title: str
    figures: tuple[tuple[str, str], ...]


def index_page(
    reports: Sequence[Report],
    *,
    loaded: Collection[str] = (),
    stored: Collection[str] = (),
    viewer: Viewer = EVERYONE,
) -> str:
    """Render each model, the most serious status first.

    On those that are `loaded`, an image can be tried. Versions of those that are `stored` can be
    acted on.
    """
    rows = [_row(report) for report in sorted(reports, key=_seriousness)]
    return render(
        "models.html", rows=rows, loaded=loaded, stored=stored, refresh_s=REFRESH_S, viewer=viewer
    )


def _seriousness(report: Report) -> tuple[int, str]:
    lower = report.accuracy.answer is AccuracyAnswer.LOWER and report.status is not Status.ALARM
    return _WORST_FIRST.index(Status.OFF if lower else report.status), report.model


def _row(report: Report) -> ModelRow:
    measures = report.measures
    figures = (
        ("accuracy", percent(measures.accuracy)),
        ("as it was?", ACCURACY_WORDS[report.accuracy.answer]),
        ("confidence minus accuracy", percent(measures.signed_gap, signed=True)),
        ("calibration error (ECE)", percent(measures.ece)),
        ("by chance", percent(measures.noise_floor)),
        ("labels", f"{grouped(measures.n)}, {percent(report.coverage.ratio)} of answers"),
    )
    return ModelRow(
        report, advice_tone(report.status, report.accuracy.answer), title(report), figures
    )
