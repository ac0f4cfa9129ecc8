"""What the pages of a model show: of exclusive classes or one finding, or of all its findings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from calibration.diagnosis.facts import AnswerGroup
from calibration.diagnosis.groups import ALL
from console.answer_links import answers_address
from console.formatting import calendar_day
from console.overview import alike, finding_values, ongoing, verdict_of
from console.rendering import render
from console.report_document import report_values
from console.sections import sections
from console.tabs import Tabs
from console.todo import Acting, cases_address, findings_todo, todo
from monitoring.diagnosis.facts import State
from monitoring.http.endpoint import EVERYONE, Viewer
from monitoring.ledger.days import Days
from monitoring.reports.findings import FindingsReport
from monitoring.reports.page_data import PageData
from monitoring.reports.report import ReportSummary

REFRESH_S = 15
_ACTED_ON: Final = 3  # findings that an overview has steps for
_WINDOWS = (
    ("now", "now"),
    ("all", "all labels"),
    ("days:28", "28 days"),
    ("days:7", "7 days"),
)


@dataclass(frozen=True)
class PageFrame:
    """What stands around the pages of a model: where its tabs lead, and who reads them.

    `acting`: whether its versions can be acted on from this process; `production`: the version that
    answers, None if that is not known; `done`: what the reader has just done.
    """

    tabs: Tabs
    viewer: Viewer = EVERYONE
    acting: Acting = Acting.HERE
    production: int | None = None
    done: str = ""

    def around(self, report: ReportSummary, here: str, *, query: str = "") -> dict[str, Any]:
        """The values of the heading, and of pages that renew themselves. `query`:
        what the pages are about, if not the report alone.
        """
        return {
            "tabs": self.tabs.of(report.model, self.viewer, here, query=query or report.query),
            "viewer": self.viewer,
            "acting": self.acting,
            "production": self.production,
            "done": self.done,
            "refresh_s": REFRESH_S,
        }


PLAIN: Final = PageFrame(Tabs())


def model_page(data: PageData, frame: PageFrame = PLAIN, *, unfolded: bool = False) -> str:
    """Render the overview. `unfolded`: with the figures, whose window and days were asked for."""
    return render(
        "model.html",
        **sections(data, is_live=True) | {"find": find_answers(data, frame.viewer)},
        **frame.around(data.report, "Overview"),
        todo=todo(data.report, frame.viewer, frame.acting),
        windows=_WINDOWS,
        unfolded=unfolded,
        planned=data.gap,
    )


def find_answers(data: PageData, viewer: Viewer) -> Callable[..., str] | None:
    """How the page finds the answers behind its figures, if the filter of answers can say which."""
    if not viewer.may("feedback"):
        return None
    since = "" if data.since_day is None else calendar_day(data.since_day)
    return partial(answers_address, data.report, since=since)


def slices_page(data: PageData, frame: PageFrame = PLAIN) -> str:
    around = frame.around(data.report, "Slices")
    return render(
        "slices.html",
        **sections(data, is_live=True) | {"find": find_answers(data, frame.viewer)},
        **around,
        todo=todo(data.report, frame.viewer, frame.acting),
    )


def findings_page(
    overview: FindingsReport, frame: PageFrame, gaps: Mapping[str, Sequence[Days]]
) -> str:
    """Render the findings of a model, as `model_page` renders one of them.

    `gaps`: the days of each, by the title of its report.
    """
    worst = alike(overview.findings)[:_ACTED_ON]
    is_wrong = overview.findings[0].diagnosis.state in (State.ALARM, State.LOOK)
    return render(
        "findings.html",
        **finding_values(overview, gaps),
        verdict=verdict_of(overview.findings),
        cases=_cases if frame.viewer.may("feedback") else None,
        steps=findings_todo(worst, frame.viewer, frame.acting) if is_wrong else (),
        alarms=[each for each in overview.findings if each.diagnosis.alarms]
        if frame.viewer.may("admin")
        else [],
        **frame.around(
            overview.findings[0], "Overview", query=urlencode({"version": overview.version})
        ),
    )


def _cases(report: ReportSummary) -> str:
    named = ongoing(report)
    if named is None:
        return cases_address(report, AnswerGroup(ALL), None)
    return cases_address(report, named.group, named.since.date)


def filed_page(found: PageData | FindingsReport, frame: PageFrame) -> str:
    """Render the report as a tab, to be printed."""
    values = report_values(found)
    around = frame.around(values["of"], "Report", query=urlencode(values["asked"]))
    return render("filed.html", **values | around, opened_by=frame.viewer.name)
