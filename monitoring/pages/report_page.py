"""The report as a document: one file without links or scripts, to be read on paper and filed."""

from html import escape

from monitoring.ledger.days import day_date
from monitoring.ledger.sums import DAY_NS
from monitoring.pages.advice import advice, by_day, happened, signs, slices, versions
from monitoring.pages.figures import against_chance, picture, table, tiles, verdict, watch
from monitoring.pages.layout import frame, moment, percent
from monitoring.reports.page_data import Dossier
from monitoring.reports.report import Report


def report_page(found: Dossier) -> str:
    """The document. It prints on A4; its figures are those of the moment at which it was made."""
    report = found.report
    beside = f'<div class="stack">{tiles(report)}{against_chance(report)}{watch(report.drift)}</div>'
    parts = (
        *(_head(found), verdict(report), advice(report), f'<div class="columns">{picture(report)}{beside}</div>'),
        *(by_day(found.days, found.of_this_version), slices(report.slices), table(report), versions(found.versions)),
        *(signs(report.signs), happened(found.entries), _labels(report), _signatures()),
    )
    return frame(f"Calibration report: {report.model} {report.version}", f'<div class="paper">{"".join(parts)}</div>')


def _head(found: Dossier) -> str:
    report = found.report
    return (
        f'<div class="top"><h1>Calibration report: {escape(report.model)} '
        f'<span class="muted">version {report.version}</span></h1></div>'
        f'<p class="muted filed">{_period(found)}. Made on {moment(report.generated_at_ns)} from the ledger of '
        f"predictions and labels. Temperature {report.temperature:.3f}.</p>"
    )


def _period(found: Dossier) -> str:
    today = day_date(found.report.generated_at_ns // DAY_NS)
    if found.since_day is not None:
        return f"Answers served from {day_date(found.since_day)} to {today}"
    return "All labeled answers" if found.report.window == "all" else f"Window {escape(found.report.window)}"


def _labels(report: Report) -> str:
    """How far the labels can be trusted, which every figure hangs on."""
    selection = report.selection
    sources = ", ".join(f"{escape(name) or 'none named'} ({n:,})" for name, n in selection.sources.items())
    audit = selection.audit
    audited = (
        f"Of {audit.drawn:,} answers drawn at random for an audit, {audit.labeled:,} have labels; by them alone the "
        f"ECE is {percent(audit.ece)}, by chance {percent(audit.noise_floor)}."
        if audit
        else "No answers were drawn at random for an audit, so nobody can say how fair a sample the labels are."
    )
    return (
        '<section class="card"><h2>The labels behind this report</h2>'
        f"<p>Labels cover {percent(selection.coverage)} of the answers; {percent(selection.uncovered)} lie at a "
        f"confidence of which none was labeled. With each confidence at the weight at which it was served the ECE is "
        f"{percent(selection.post_stratified_ece)}. {audited}</p>"
        f'<p class="explain">Sources of the latest labels: {sources or "no labels"}.</p></section>'
    )


def _signatures() -> str:
    cells = "".join(f"<div><p></p><span>{name}</span></div>" for name in ("Reviewed by", "Date", "Decision"))
    return f'<section class="signatures">{cells}</section>'
