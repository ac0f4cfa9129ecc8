"""One model version on one page: the verdict first, then the picture, then the numbers with what they mean."""

from html import escape
from urllib.parse import quote

from monitoring.pages.advice import advice, by_day, happened, signs, slices, versions
from monitoring.pages.figures import against_chance, picture, table, tiles, verdict, watch
from monitoring.pages.layout import REFRESH_S, frame, moment
from monitoring.reports.page_data import Dossier
from monitoring.reports.report import Report

_WINDOWS = (
    ("all", "all labels"),
    ("promotion", "since promotion"),
    ("days:30", "30 days"),
    ("last:500", "last 500 labels"),
    ("last:100", "last 100"),
)


def model_page(found: Dossier) -> str:
    """The page of a model, which reloads itself."""
    report = found.report
    beside = f'<div class="stack">{tiles(report)}{against_chance(report)}{watch(report.drift)}</div>'
    columns = f'<div class="columns">{picture(report)}{beside}</div>'
    parts = (
        *(_head(report), verdict(report), advice(report), columns, by_day(found.days, found.of_this_version)),
        *(slices(report.slices), table(report), versions(found.versions), signs(report.signs)),
        *(happened(found.entries), _foot(report)),
    )
    return frame(f"{report.model} {report.version}: calibration", "".join(parts), refresh_s=REFRESH_S)


def _head(report: Report) -> str:
    path = f"/calibration/{quote(report.model, safe='')}/page"
    others = " ".join(
        f"<b>{version}</b>" if version == report.version else f'<a href="{path}?version={version}">{version}</a>'
        for version in report.versions
    )
    here = f"{path}?version={report.version}"
    windows = " · ".join(
        f"<b>{text}</b>" if window == report.window else f'<a href="{here}&amp;window={window}">{text}</a>'
        for window, text in _WINDOWS
    )
    return (
        '<p class="crumb"><a href="/">All models</a></p>'
        f'<div class="top"><h1>{escape(report.model)} <span class="muted">version {report.version}</span></h1>'
        f'<span class="muted">versions: {others}</span><span class="muted">window: {windows}</span></div>'
    )


def _foot(report: Report) -> str:
    return (
        f'<p class="explain">As of {moment(report.generated_at_ns)}, read again every '
        f"{REFRESH_S} s. Temperature {report.temperature:.3f}. Labels are rarely a random sample of what was served: "
        "if mistakes are labeled more often than successes, every figure here looks worse than the truth.</p>"
    )
