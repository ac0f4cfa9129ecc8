"""The charts and tables of a model's page as files: a drawing as SVG, its figures as CSV.

Plain links lead to them, so that they work without script. Figures are unrounded; what is not known
is an empty cell.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from calibration.measures.reliability import ReliabilityBin
from model_store.bundle.diagram import diagram_file
from monitoring.diagnosis.coverage import ALL
from monitoring.diagnosis.phrases import answers_of
from monitoring.diagnosis.vocabulary import terms
from monitoring.errors import QueryInvalid, brief
from monitoring.http.endpoint import Parameter
from monitoring.reports.page_data import PageData
from monitoring.routes import OF_FINDING, OF_VERSION, REPORT_REFUSALS, WINDOW
from monitoring.routes.reports import ReportRoutes
from monitoring.routes.request import read_finding, read_span_of, read_version
from serving.pages.axis import Chart
from serving.pages.course_chart import course_chart, course_steps, evidence_chart
from serving.pages.day_chart import day_chart, day_dots, gap_chart
from serving.pages.endpoints import page
from serving.pages.files import BINS_HEADER, Row, attached, bin_rows, csv_text, safe_name
from serving.pages.formatting import calendar_day
from serving.pages.models import SPAN
from serving.pages.sections import course_events, drawn_for, marks_of, own_evidence, who

CSV: Final = "text/csv; charset=utf-8"
SVG: Final = "image/svg+xml"
FileTable = tuple[Row, list[Row]]
MakeTable = Callable[[PageData, str | None], FileTable]
_Column = tuple[str, Callable[[Any], Any]]


class Download(NamedTuple):
    """A file: its name, content and media type."""

    name: str
    content: str
    media_type: str


def make_download(data: PageData, file: str, *, of: str | None = None) -> Download:
    """Make a file such as `days.csv`; `of` names the class of a reliability diagram.

    Raises QueryInvalid for a file or a class that is not there.
    """
    kind, _, suffix = file.partition(".")
    report = data.report
    name = f"{report.model}-{report.version}-{kind}" + ("" if of is None else f"-{of}")
    name = safe_name(name)
    if of is not None and kind != "reliability" and (kind in TABLES or kind in DRAWINGS):
        raise QueryInvalid(f"Only the reliability diagram has a class; {kind} is of all answers.")
    if suffix == "csv" and kind in TABLES:
        header, rows = TABLES[kind](data, of)
        return Download(f"{name}.csv", csv_text([header, *rows]), CSV)
    if suffix == "svg" and kind in DRAWINGS:
        return Download(f"{name}.svg", DRAWINGS[kind](data, of), SVG)
    known = [*(f"{each}.csv" for each in TABLES), *(f"{each}.svg" for each in DRAWINGS)]
    raise QueryInvalid(
        f"There is no file {brief(file)} to download; expected one of {', '.join(known)}."
    )


def _bins(data: PageData, of: str | None) -> Sequence[ReliabilityBin]:
    if of is None:
        return data.report.bins
    for each in data.report.class_bins:
        if each.name == of:
            return each.bins
    raise QueryInvalid(f"No answer of this version names the class {brief(of)}.")


def _columns(rows: Callable[[PageData], Iterable[Any]], *columns: str | _Column) -> MakeTable:
    """A table with a row for each object, and these columns.

    A column is an attribute of its name, a name and a dotted path of attributes, of which one may
    be None (`ece=measures.ece`), or a name and a function of the object.
    """
    chosen = [_column(each) if isinstance(each, str) else each for each in columns]

    def table(data: PageData, _: str | None) -> FileTable:
        cells: list[Row] = [[read(row) for _, read in chosen] for row in rows(data)]
        return [name for name, _ in chosen], cells

    return table


def _column(text: str) -> _Column:
    name, _, path = text.partition("=")

    def read(row: Any) -> Any:
        for part in (path or name).split("."):
            row = None if row is None else getattr(row, part)
        return row

    return name, read


def _gap(data: PageData, _: str | None) -> FileTable:
    named = who(data.report.diagnosis)
    both = [(named, each) for each in day_dots(data.affected)]
    both += [("all others", each) for each in day_dots(data.others)]
    header = ("days", "answers_of", "labels", "signed_gap", "signed_gap_lower", "signed_gap_upper")
    return header, [
        (str(dot.days), of, dot.labels, dot.gap, dot.gap_lower, dot.gap_upper) for of, dot in both
    ]


def _evidence(data: PageData, _: str | None) -> FileTable:
    drift, bar = data.report.drift, own_evidence(data.report)
    header = (
        *("share", "usual_lower", "usual_upper"),
        *("log_evalue", "log_threshold", "labels", "alarm"),
    )
    if drift is None or bar is None:
        return header, []
    usual = (bar.usual.lower, bar.usual.upper) if bar.usual else (None, None)
    return header, [
        (bar.share, *usual, drift.log_evalue, drift.log_threshold, drift.labels, drift.active)
    ]


def _measures(data: PageData, _: str | None) -> FileTable:
    now, card = data.report.measures.as_dict(), data.report.reference
    return ("measure", "now", "card"), [
        (name, value, card.get(name)) for name, value in now.items()
    ]


def _expected_answers(data: PageData, _: str | None) -> FileTable:
    expected = data.report.expected_performance.from_confidence
    names = [each.name for each in expected.classes] if expected else []
    rows = [(name, *expected.confusion[at]) for at, name in enumerate(names)] if expected else []
    return ("true_class", *(f"answered {name}" for name in names)), list(rows)


def _history(data: PageData, _: str | None) -> FileTable:
    columns = ("at", "version", "kind", "tag", "sentence")
    entries: Sequence[Mapping[str, object]] = data.entries
    return columns, [[entry[column] for column in columns] for entry in entries]


_DAYS = _columns(
    lambda data: day_dots(data.days),
    ("days", lambda dot: str(dot.days)),
    *("answers=days.served", "labels", "coverage", "accuracy"),
    *("signed_gap=gap", "signed_gap_lower=gap_lower", "signed_gap_upper=gap_upper"),
    *("ece", "noise_floor=floor", "chance_limit=limit"),
)
_COURSE = _columns(
    lambda data: [] if data.course is None else course_steps(data.course),
    *("from_label=first", "to_label=last"),
    ("from_day", lambda step: calendar_day(step.first_day)),
    ("to_day", lambda step: calendar_day(step.last_day)),
    *("label_with_most=at", "labels_since_start=since_start"),
    *("share", "usual_lower", "usual_upper"),
)
_SLICES = _columns(
    lambda data: (
        (*data.report.slices.known, *data.report.slices.by_true_class) if data.report.slices else ()
    ),
    *("name", "served", "n", "accuracy", "mean_confidence", "ece", "noise_floor"),
    *("signed_gap", "gap_lower", "gap_upper"),
)
_RATES = _columns(
    lambda data: data.report.diagnosis.operating_points.rates,
    *("of", "n", "more", "more_labels", "as_served", "rate=name.value"),
    ("tag", lambda each: "".join(each.group.values)),
    *("standing=standing.value", "value=rate.estimate", "lower=rate.lower", "upper=rate.upper"),
    *("promise=promise.value", "promise_lower=promise.lower", "promise_upper=promise.upper"),
)
_ESTIMATED = _columns(
    lambda data: data.report.expected_performance.rows(of_one=terms(data.report.finding).of_one),
    *("rate=title", "from_confidence=from_confidence.value"),
    *("lower=from_confidence.lower", "upper=from_confidence.upper"),
    *("corrected=corrected.value", "corrected_lower=corrected.lower"),
    *("corrected_upper=corrected.upper", "labeled_expected=compared.expected.value"),
    *("labeled_shown=compared.shown", "contradicted=compared.contradicted"),
)
TABLES: Final[Mapping[str, MakeTable]] = {
    "reliability": lambda data, of: (BINS_HEADER, bin_rows(_bins(data, of))),
    "days": _DAYS,
    "gap": _gap,
    "evidence": _evidence,
    "course": _COURSE,
    "slices": _SLICES,
    "rates": _RATES,
    "net-benefit": _columns(
        lambda data: data.report.diagnosis.operating_points.net_benefits,
        *("of", "exchange", "in_use", "moved", "everyone"),
        *("said=said.estimate", "lower=said.lower", "upper=said.upper"),
    ),
    "auroc": _columns(
        lambda data: data.report.diagnosis.operating_points.aurocs,
        *("of", "since_s", "until_s", "n", "positives"),
        *("auroc=auroc.estimate", "lower=auroc.lower", "upper=auroc.upper"),
    ),
    "tags": _columns(
        lambda data: data.report.tag_watches.watches if data.report.tag_watches else (),
        *("tag", "evidence", "labels", "tolerance", "active", "alarm_label"),
    ),
    "measures": _measures,
    "estimated": _ESTIMATED,
    "expected-answers": _expected_answers,
    "versions": _columns(
        lambda data: data.versions,
        *("version=report.version", "state=report.diagnosis.state.value"),
        *("answers=report.coverage.served", "labels=report.measures.n"),
        *("same_days=compared.days", "accuracy_difference=compared.accuracy.estimate"),
        *("accuracy_lower=compared.accuracy.lower", "accuracy_upper=compared.accuracy.upper"),
        *("gap_difference=compared.gap.estimate", "gap_lower=compared.gap.lower"),
        "gap_upper=compared.gap.upper",
    ),
    "history": _history,
}


def _evidence_drawn(data: PageData, _: str | None) -> str:
    bar = own_evidence(data.report)
    if bar is None:
        raise QueryInvalid("This version is not watched, so there is no evidence to draw.")
    return evidence_chart(bar, as_file=True)


def _course_drawn(data: PageData, _: str | None) -> str:
    chart = None if data.course is None else course_chart(data.course, course_events(data))
    if chart is None:
        raise QueryInvalid(
            "No label of this window and these days is known to the drift watch: nothing to draw."
        )
    return chart.file


def _days_drawn(data: PageData, _: str | None) -> str:
    return _file_of(day_chart(day_dots(data.days), marks_of(data), zoom=data.span))


def _gap_drawn(data: PageData, _: str | None) -> str:
    affected, others = day_dots(data.affected), day_dots(data.others)
    gap = terms(data.report.finding).gap
    drawn = gap_chart(affected, marks_of(data), gap=gap, others=others, zoom=data.span)
    return _file_of(drawn)


def _file_of(chart: Chart | None) -> str:
    if chart is None:
        raise QueryInvalid("No day of this window has labels, so there is nothing to draw.")
    return chart.file


def _reliability_drawn(data: PageData, of: str | None) -> str:
    drawn = diagram_file(_bins(data, of), of="all answers" if of is None else answers_of(of))
    return drawn_for(drawn, terms(data.report.finding))


DRAWINGS: Final[Mapping[str, Callable[[PageData, str | None], str]]] = {
    "reliability": _reliability_drawn,
    "days": _days_drawn,
    "gap": _gap_drawn,
    "evidence": _evidence_drawn,
    "course": _course_drawn,
}


class DownloadRoutes:
    """The handler of files. `reports` reads what they show."""

    def __init__(self, reports: ReportRoutes) -> None:
        self._reports = reports

    async def file(self, request: Request) -> Response:
        """One file, to be saved by a browser."""
        download = await to_thread.run_sync(self._make, request)
        return attached(*download)

    def _make(self, request: Request) -> Download:
        query, path = request.query_params, request.path_params
        data = self._reports.page_data(
            path["model"],
            read_version(request),
            read_finding(request),
            query.get("window", ALL),
            read_span_of(request),
        )
        return make_download(data, path["file"], of=query.get("class"))


ENDPOINTS: Final = (
    page(
        "/models/{model}/report/download/{file}",
        DownloadRoutes.file,
        tag="calibration",
        summary="A chart or table of that page as a file, such as days.csv or reliability.svg.",
        gives={"text/csv": str, "image/svg+xml": str},
        parameters=(
            OF_VERSION,
            OF_FINDING,
            WINDOW,
            *SPAN,
            Parameter("class", "query", str, "of a reliability diagram; all if left out"),
        ),
        refuses=REPORT_REFUSALS,
    ),
)
