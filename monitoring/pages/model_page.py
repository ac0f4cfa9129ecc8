"""One model version on one page: the verdict first, then the picture, then the numbers with what they mean."""

import math
from html import escape
from urllib.parse import quote

from monitoring.findings.drift import Drift
from monitoring.pages.diagram import reliability_diagram
from monitoring.pages.layout import REFRESH_S, WORDS, frame, moment, percent, span
from monitoring.report import Report

_ROWS = (
    ("ece", "Calibration error (ECE)", "average distance between confidence and accuracy, bin by bin"),
    ("noise_floor", "Noise floor", "the ECE that chance alone gives a perfect model on as many labels"),
    ("debiased_rms", "Debiased error", "root mean square error with chance taken out"),
    ("mce", "Largest error in a bin", "the worst bin; jumpy where a bin holds few answers"),
    ("signed_gap", "Confidence minus accuracy", "above zero: too sure of itself"),
    ("accuracy", "Accuracy", "answers that were right"),
    ("mean_confidence", "Mean confidence", "how sure it was of them"),
)


def model_page(report: Report) -> str:
    """The page of a report."""
    beside = f'<div class="stack">{_tiles(report)}{_against_chance(report)}{_watch(report.drift)}</div>'
    columns = f'<div class="columns">{_picture(report)}{beside}</div>'
    body = _head(report) + _verdict(report) + columns + _table(report) + _foot(report)
    return frame(f"{report.model} {report.version}: calibration", body)


def _head(report: Report) -> str:
    path = f"/calibration/{quote(report.model, safe='')}/page"
    others = " ".join(
        f"<b>{version}</b>" if version == report.version else f'<a href="{path}?version={version}">{version}</a>'
        for version in report.versions
    )
    here = f"{path}?version={report.version}"
    windows = " · ".join(
        f"<b>{text}</b>" if window == report.window else f'<a href="{here}&amp;window={window}">{text}</a>'
        for window, text in (("all", "all labels"), ("last:500", "last 500"), ("last:100", "last 100"))
    )
    return (
        '<p class="crumb"><a href="/">All models</a></p>'
        f'<div class="top"><h1>{escape(report.model)} <span class="muted">version {report.version}</span></h1>'
        f'<span class="muted">versions: {others}</span><span class="muted">window: {windows}</span></div>'
    )


def _verdict(report: Report) -> str:
    return (
        f'<section class="card verdict {report.status}"><p class="word">{WORDS[report.status]}</p>'
        f'<p class="sentence">{escape(report.verdict)}</p></section>'
    )


def _picture(report: Report) -> str:
    return (
        '<section class="card"><h2>How sure it was, and how often it was right</h2>'
        '<p class="explain">Dots on the dashed line mean that confidence is true. Below it the model is too sure, '
        f"above it too modest.</p>{reliability_diagram(report.bins)}"
        '<p class="legend"><span><i style="background:var(--accent)"></i>answers of a bin, with 95 % interval</span>'
        '<span><i style="background:var(--muted);opacity:.4;border-radius:2px"></i>what chance explains</span>'
        '<span><i style="background:var(--bad);border-radius:2px"></i>gap</span></p></section>'
    )


def _tiles(report: Report) -> str:
    measures = report.measures
    gap = f"{percent(measures.signed_gap_lower, signed=True)} to {percent(measures.signed_gap_upper, signed=True)}"
    tiles = (
        ("Confidence minus accuracy", percent(measures.signed_gap, signed=True), gap),
        (
            "Labeled answers",
            f"{measures.n:,}",
            f"{percent(report.coverage.ratio)} of {report.coverage.served:,} served",
        ),
        ("Expected accuracy", percent(report.expected_accuracy), "mean confidence of all answers, labeled or not"),
        ("Label delay", span(report.delay.median_s), f"median; nine in ten within {span(report.delay.p90_s)}"),
    )
    cells = (
        f'<div><p class="muted">{name}</p><p class="number">{number}</p><p class="explain">{note}</p></div>'
        for name, number, note in tiles
    )
    return f'<section class="card tiles">{"".join(cells)}</section>'


def _against_chance(report: Report) -> str:
    """ECE, its noise floor and the card's ECE on one axis."""
    bars = (
        ("now", report.measures.ece, "var(--accent)"),
        ("chance alone", report.measures.noise_floor, "var(--muted)"),
        ("as promised", report.reference.get("ece"), "var(--good)"),
    )
    known = [ece for _, ece, _ in bars if ece is not None and math.isfinite(ece)]
    full = max([0.1, *known])
    rows = (
        f'<div class="bar"><span>{name}</span><div class="meter"><div style="width:{_share(ece, full)}%;'
        f'background:{color}"></div></div><b>{percent(ece)}</b></div>'
        for name, ece, color in bars
    )
    return (
        f'<section class="card"><h2>Calibration error against chance</h2>{"".join(rows)}'
        '<p class="explain">Even a perfect model shows some: on so many labels, what the gray bar shows.</p></section>'
    )


def _share(ratio: float | None, full: float) -> int:
    return round(100 * ratio / full) if ratio is not None and math.isfinite(ratio) else 0


def _watch(drift: Drift | None) -> str:
    if drift is None:
        return ""
    evidence = max(0.0, drift.log_evalue) if math.isfinite(drift.log_evalue) else 0.0
    filled = 100 if drift.active else min(100, round(100 * evidence / drift.log_threshold))
    state = "alarm" if drift.active else "ok"
    if drift.active:
        direction = "too sure" if drift.direction == "over" else "too modest"
        word = f"The alarm was raised at label {drift.alarm_label:,}: {direction}. It stands until acknowledged."
    else:
        word = f"{filled} % of the evidence that an alarm takes, after {drift.labels:,} labels."
    return (
        f'<section class="card {state}"><h2>Drift watch</h2>'
        f'<div class="meter"><div style="width:{filled}%"></div></div><p>{word}</p>'
        '<p class="explain">Bets against the claim that confidence is true within '
        f"{percent(drift.tolerance)}. While it is, a false alarm comes at most once in {drift.average_run_length:,.0f} "
        "labels on average, however often anyone looks.</p></section>"
    )


def _table(report: Report) -> str:
    now = {name: getattr(report.measures, name) for name, _, _ in _ROWS}
    rows = (
        f'<tr><th scope="row">{name}<span>{explained}</span></th><td class="n">{_figure(now[key], key)}</td>'
        f'<td class="n">{_figure(report.reference.get(key), key)}</td></tr>'
        for key, name, explained in _ROWS
    )
    interval = f"{percent(report.measures.ece_lower)} to {percent(report.measures.ece_upper)}"
    return (
        '<section class="card scroll" style="margin-top:18px"><h2>Now, and as promised</h2>'
        f'<p class="explain">95 % interval of the ECE now: {interval}. The promise is what the card measured before '
        "this version was served.</p><table>"
        '<thead><tr><th></th><th class="n">now</th><th class="n">card</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _figure(ratio: float | None, key: str) -> str:
    return percent(ratio, signed=key == "signed_gap")


def _foot(report: Report) -> str:
    return (
        f'<p class="explain" style="margin-top:18px">As of {moment(report.generated_at_ns)}, read again every '
        f"{REFRESH_S} s. Temperature {report.temperature:.3f}. Labels are rarely a random sample of what was served: "
        "if mistakes are labeled more often than successes, every figure here looks worse than the truth.</p>"
    )
