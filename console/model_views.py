"""What the pages of a model show: of exclusive classes or one finding, or of all its findings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from calibration.diagnosis.facts import AnswerGroup
from calibration.diagnosis.groups import ALL
from console.answer_links import answers_address
from console.formatting import calendar_day, slices_path
from console.overview import alike, finding_lines, finding_rows, ongoing, verdict_of
from console.rendering import answer_page, render
from console.report_document import (
    findings_report_page,
    findings_values,
    report_page,
    report_values,
)
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

    def around(self, report: ReportSummary, here: str) -> dict[str, Any]:
        """The values of `sections/tabs.html.jinja`, and of pages that renew themselves."""
        return {
            "tabs": self.tabs.of(report.model, self.viewer, here, query=report.query),
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
    overview: FindingsReport, gaps: Mapping[str, Sequence[Days]], frame: PageFrame = PLAIN
) -> str:
    """Render the findings of a model, as `model_page` renders one of them.

    `gaps`: the days of each, by the title of its report.
    """
    worst = alike(overview.findings)[:_ACTED_ON]
    is_wrong = overview.findings[0].diagnosis.state in (State.ALARM, State.LOOK)
    return render(
        "findings.html",
        **finding_rows(overview),
        verdict=verdict_of(overview.findings),
        lines=finding_lines(overview, gaps),
        cases=_cases if frame.viewer.may("feedback") else None,
        steps=findings_todo(worst, frame.viewer, frame.acting) if is_wrong else (),
        alarms=[each for each in overview.findings if each.diagnosis.alarms]
        if frame.viewer.may("admin")
        else [],
        **_around_findings(overview, frame, "Overview"),
        linked=True,
    )


def _cases(report: ReportSummary) -> str:
    named = ongoing(report)
    if named is None:
        return cases_address(report, AnswerGroup(ALL), None)
    return cases_address(report, named.group, named.since.date)


def _around_findings(overview: FindingsReport, frame: PageFrame, here: str) -> dict[str, Any]:
    query = urlencode({"version": overview.version})
    tabs = frame.tabs.of(overview.model, frame.viewer, here, query=query)
    return frame.around(overview.findings[0], here) | {"tabs": tabs}


@dataclass(frozen=True)
class OnePages:
    """The pages of a model with exclusive classes, or of a finding."""

    data: PageData
    frame: PageFrame

    @property
    def title(self) -> str:
        return self.data.report.title

    def page(self, *, unfolded: bool) -> str:
        return model_page(self.data, self.frame, unfolded=unfolded)

    def slices(self, _query: Mapping[str, str]) -> Response:
        return answer_page(slices_page(self.data, self.frame))

    def report(self) -> dict[str, Any]:
        report, paper = self.data.report, "sections/paper.html.jinja"
        filed = {"of": report, "asked": report.named, "paper": paper}
        return report_values(self.data) | self.frame.around(report, "Report") | filed

    def file(self) -> str:
        return report_page(self.data, opened_by=self.frame.viewer.name)


@dataclass(frozen=True)
class EveryPages:
    """The same of all findings of a model: a table of them; slices are those of the worst one."""

    overview: FindingsReport
    frame: PageFrame
    gaps: Mapping[str, Sequence[Days]]

    @property
    def title(self) -> str:
        return self.overview.model

    def page(self, *, unfolded: bool) -> str:
        return findings_page(self.overview, self.gaps, self.frame)

    def slices(self, query: Mapping[str, str]) -> Response:
        asked = {**query, "finding": self.overview.findings[0].finding}
        address = f"{slices_path(self.overview.model)}?{urlencode(asked)}"
        return RedirectResponse(address, status_code=303)

    def report(self) -> dict[str, Any]:
        found, paper = self.overview, "sections/findings_paper.html.jinja"
        filed = {"of": found.findings[0], "asked": {"version": found.version}, "paper": paper}
        return findings_values(found) | _around_findings(found, self.frame, "Report") | filed

    def file(self) -> str:
        return findings_report_page(self.overview, opened_by=self.frame.viewer.name)
