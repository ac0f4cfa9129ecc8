"""The page of all models: a table, the most serious first, that is searched, narrowed and sorted
by its address.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from anyio import to_thread
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from calibration.diagnosis.facts import main_deviation
from calibration.measures.estimates import IntervalEstimate
from calibration.measures.many_models import beyond_chance
from console.endpoints import page
from console.formatting import page_path
from console.model_views import REFRESH_S
from console.overview import ongoing, shown_gap, verdict_of
from console.rendering import answer_page, render, tag_of
from console.sections import TONES
from console.spark import sparkline
from console.tabs import Tabs, never
from console.todo import LABEL, NextStep, label_address
from monitoring.diagnosis.facts import State
from monitoring.diagnosis.words import words_of
from monitoring.errors import QueryInvalid, brief
from monitoring.http.endpoint import EVERYONE, Viewer, read_viewer
from monitoring.ledger.days import Days
from monitoring.reports.every_model import EveryReport
from monitoring.reports.findings import WORST_FIRST, seriousness
from monitoring.reports.report import ReportSummary
from monitoring.routes.reports import ReportRoutes

WAIT_S: float = 0.1  # for models that changed; then the page shows what was known before
_SOON_S: Final = 2  # until it asks again while they are read


class ModelRow(NamedTuple):
    """A model in the table, by its most serious finding; `title` names all that are as serious.

    `is_chance`: what its labels show may be chance, as so many models are looked at.
    """

    report: ReportSummary
    tone: str
    state: str
    title: str
    is_chance: bool
    gap: IntervalEstimate
    spark: Markup
    since_s: float
    next_step: NextStep | None


_SORTS: Final[Mapping[str, Callable[[ModelRow], Any]]] = {
    "state": lambda row: (
        seriousness(row.report)[0] + 0.5 * row.is_chance,
        seriousness(row.report),
    ),
    "model": lambda row: row.report.title,
    "gap": lambda row: -abs(row.gap.estimate) if math.isfinite(row.gap.estimate) else 1.0,
    "since": lambda row: -row.since_s if math.isfinite(row.since_s) else math.inf,
    "labels": lambda row: -row.report.coverage.labeled,
}


@dataclass(frozen=True)
class ModelChoice:
    """What the address asks for: a part of a name, a state, and the order."""

    q: str = ""
    state: str = ""
    sort: str = "state"

    def address(self, **changed: str) -> str:
        """The address of this choice with something changed."""
        fields = {**vars(self), **changed}
        asked = {name: text for name, text in fields.items() if text and (name, text) != _DEFAULT}
        return f"/?{urlencode(asked)}" if asked else "/"

    def rows(self, rows: Sequence[ModelRow]) -> list[ModelRow]:
        chosen = [
            row
            for row in rows
            if self.q.lower() in row.report.title.lower() and self.state in ("", row.state)
        ]
        return sorted(sorted(chosen, key=_SORTS["state"]), key=_SORTS[self.sort])


_DEFAULT: Final = ("sort", "state")


def read_choice(query: Mapping[str, str]) -> ModelChoice:
    """Read a query. Raises QueryInvalid for a state or an order that is not there."""
    for name, known in (("state", [str(each) for each in State]), ("sort", [*_SORTS])):
        if name in query and query[name] not in known:
            raise QueryInvalid(
                f"The query's '{name}' must be one of {', '.join(known)}; got {brief(query[name])}."
            )
    return ModelChoice(**{name: query[name] for name in ("q", "state", "sort") if name in query})


def index_page(
    reports: Sequence[ReportSummary],
    gaps: Mapping[str, Sequence[Days]] | None = None,
    idle: Sequence[str] = (),
    unread: Sequence[str] = (),
    *,
    choice: ModelChoice | None = None,
    tries: Callable[[str], bool] = never,
    viewer: Viewer = EVERYONE,
) -> str:
    """Render each model, of its findings the most serious one.

    `gaps`: the days of each, by title; `idle`: declared models without answers, which have no
    report; `unread`: models whose rows are not up to date, or missing; `tries`: whether this
    process answers images with a model.
    """
    choice = choice or ModelChoice()
    rows = list(_rows(reports, gaps or {}, viewer))
    counts = Counter(row.state for row in rows)
    return render(
        "models.html",
        rows=choice.rows(rows),
        idle=[] if choice.state else [name for name in idle if choice.q.lower() in name.lower()],
        counts={state.value: counts[state] for state in WORST_FIRST if counts[state]},
        tones={state.value: TONES[state] for state in WORST_FIRST},
        choice=choice,
        sorts=[*_SORTS],
        total=len(rows),
        watched=len(reports),
        refresh_s=_SOON_S if unread else REFRESH_S,
        unread=unread,
        tries=tries if viewer.may("predict") else never,
        viewer=viewer,
    )


def _rows(
    reports: Sequence[ReportSummary], gaps: Mapping[str, Sequence[Days]], viewer: Viewer
) -> Iterator[ModelRow]:
    sure = dict(zip([each.title for each in reports], _beyond_chance(reports), strict=True))
    models = dict[str, list[ReportSummary]]()
    for report in sorted(reports, key=seriousness):
        models.setdefault(report.model, []).append(report)
    for of_model in models.values():
        report, *_ = of_model
        found, named = report.diagnosis, ongoing(report)
        said = verdict_of(of_model).title if report.finding else words_of(found).title
        is_chance = found.state is State.LOOK and named is not None and not sure[report.title]
        began = None if named is None else named.since
        yield ModelRow(
            report,
            "early" if is_chance else TONES[found.state],
            found.state.value,
            said.partition(": ")[2],
            is_chance,
            shown_gap(report),
            sparkline(gaps.get(report.title, ())),
            math.nan if began is None or began.date is None else began.date,
            _next_step(report, viewer),
        )


def _beyond_chance(reports: Sequence[ReportSummary]) -> list[bool]:
    first = [main_deviation(each.diagnosis.deviations) for each in reports]
    return beyond_chance([-math.inf if each is None else each.score for each in first])


def _next_step(report: ReportSummary, viewer: Viewer) -> NextStep | None:
    """The first action: labels where labels are asked for, otherwise the page that says more."""
    first = next((each for each in report.diagnosis.actions if each.available), None)
    if report.diagnosis.alarms or first is None or first.code not in LABEL:
        where = f"{page_path(report.model)}?{report.query}"
        return NextStep("Look", where) if report.diagnosis.actions else None
    if not viewer.may("feedback"):
        return None
    return NextStep("Label answers", label_address(first, report))


class IndexRoutes:
    def __init__(self, reports: ReportRoutes, tabs: Tabs) -> None:
        self._reports, self._tabs = reports, tabs

    async def index(self, request: Request) -> Response:
        """The page; 304 to who has it already, and of whose models nothing changed."""
        choice, viewer = read_choice(request.query_params), read_viewer(request)
        found = await to_thread.run_sync(partial(self._reports.every.read, limit_s=WAIT_S))
        tag = tag_of(found.mark, choice, viewer)
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304)
        page = await to_thread.run_sync(self._page, found, choice, viewer)
        page.headers["etag"] = tag
        return page

    def _page(self, found: EveryReport, choice: ModelChoice, viewer: Viewer) -> Response:
        shown = (found.reports, found.days, found.idle, found.unread)
        return answer_page(index_page(*shown, choice=choice, tries=self._tabs.tries, viewer=viewer))


ENDPOINTS: Final = (page("/", IndexRoutes.index, "q", "state", "sort", scope="read"),)
