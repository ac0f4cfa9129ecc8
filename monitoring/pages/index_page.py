"""All models at a glance, each with its verdict."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from monitoring.findings.status import Status
from monitoring.pages.figures import evidence
from monitoring.pages.layout import REFRESH_S, SHORT_WORDS, frame, percent
from monitoring.reports.report import Report

_LOUDEST_FIRST = (Status.ALARM, Status.OFF, Status.EARLY, Status.NO_LABELS, Status.OK)


def index_page(reports: Sequence[Report]) -> str:
    """One row a model, the loudest first."""
    ordered = sorted(reports, key=lambda report: (_LOUDEST_FIRST.index(report.status), report.model))
    table = (
        '<table><thead><tr><th>Model</th><th>Verdict</th><th class="n">confidence minus accuracy</th>'
        '<th class="n">ECE</th><th class="n">noise floor</th><th class="n">accuracy</th><th class="n">labels</th>'
        '<th class="n">cover</th><th class="n">evidence of drift</th>'
        f"</tr></thead><tbody>{''.join(map(_row, ordered))}</tbody></table>"
    )
    empty = "<p>No model has been served with this ledger yet. Start a server, and it will appear here.</p>"
    body = (
        '<div class="top"><h1>Candor</h1><span class="muted">Is the models&rsquo; confidence still true?</span></div>'
        f'<section class="card scroll">{table if ordered else empty}</section>'
    )
    return frame("Candor: calibration of all models", body, refresh_s=REFRESH_S)


def _row(report: Report) -> str:
    measures = report.measures
    figures = (
        percent(measures.signed_gap, signed=True),
        percent(measures.ece),
        percent(measures.noise_floor),
        percent(measures.accuracy),
        f"{measures.n:,}",
        percent(report.coverage.ratio),
        percent(evidence(report.drift)),
    )
    name = f'<a href="/calibration/{quote(report.model, safe="")}/page">{escape(report.model)}</a>'
    cells = "".join(f'<td class="n">{figure}</td>' for figure in figures)
    return (
        f'<tr class="{report.status}"><td>{name} <span class="muted">version {report.version}</span></td>'
        f'<td><span class="pill">{SHORT_WORDS[report.status]}</span></td>{cells}</tr>'
    )
