"""The figures of one report as parts of a page: verdict, diagram, tiles, error against chance, watch, all measures."""

import math
from html import escape

from monitoring.findings.drift import Drift
from monitoring.pages.diagram import reliability_diagram
from monitoring.pages.layout import WORDS, percent, span
from monitoring.reports.report import Report

_ROWS = (
    ("ece", "Calibration error (ECE)", "average distance between confidence and accuracy, bin by bin"),
    ("noise_floor", "Noise floor", "the ECE that chance alone gives a perfect model on as many labels"),
    ("debiased_rms", "Debiased error", "root mean square error with chance taken out"),
    ("mce", "Largest error in a bin", "the worst bin; jumpy where a bin holds few answers"),
    ("signed_gap", "Confidence minus accuracy", "above zero: too sure of itself"),
    ("accuracy", "Accuracy", "answers that were right"),
    ("mean_confidence", "Mean confidence", "how sure it was of them"),
)


def verdict(report: Report) -> str:
    """The word and the sentence."""
    return (
        f'<section class="card verdict {report.status}"><p class="word">{WORDS[report.status]}</p>'
        f'<p class="sentence">{escape(report.verdict)}</p></section>'
    )


def picture(report: Report) -> str:
    """The reliability diagram with its legend."""
    return (
        '<section class="card"><h2>How sure it was, and how often it was right</h2>'
        '<p class="explain">Dots on the dashed line mean that confidence is true. Below it the model is too sure, '
        f"above it too modest.</p>{reliability_diagram(report.bins)}"
        '<p class="legend"><span><i style="background:var(--accent)"></i>answers of a bin, with 95 % interval</span>'
        '<span><i style="background:var(--muted);opacity:.4;border-radius:2px"></i>what chance explains</span>'
        '<span><i style="background:var(--bad);border-radius:2px"></i>gap</span></p></section>'
    )


def tiles(report: Report) -> str:
    """The four figures to look at first."""
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


def against_chance(report: Report) -> str:
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


def evidence(drift: Drift | None) -> float | None:
    """The share of the evidence that an alarm takes, in [0, 1]; 1 while one stands, None where nothing is watched."""
    if drift is None:
        return None
    found = max(0.0, drift.log_evalue) if math.isfinite(drift.log_evalue) else 0.0
    return 1.0 if drift.active else min(1.0, found / drift.log_threshold)


def watch(drift: Drift | None) -> str:
    """How much evidence the drift detector has, and where; nothing where there is none."""
    if drift is None:
        return ""
    filled = round(100 * (evidence(drift) or 0.0))
    state = "alarm" if drift.active else "ok"
    if drift.active:
        direction = "too sure" if drift.direction == "over" else "too modest"
        word = f"The alarm was raised at label {drift.alarm_label:,}: {direction}. It stands until acknowledged."
    else:
        word = f"{filled} % of the evidence that an alarm takes, after {drift.labels:,} labels."
    listens = " It listens to audited answers only." if drift.audit else ""
    return (
        f'<section class="card {state}"><h2>Drift watch</h2>'
        f'<div class="meter"><div style="width:{filled}%"></div></div><p>{word}{_streams(drift)}{listens}</p>'
        '<p class="explain">Bets against the claim that confidence is true within '
        f"{percent(drift.tolerance)}. While it is, a false alarm comes at most once in {drift.average_run_length:,.0f} "
        "labels on average, however often anyone looks.</p></section>"
    )


def _streams(drift: Drift) -> str:
    """Where most of the evidence lies, once there is some."""
    if not drift.streams or (evidence(drift) or 0.0) < 0.25:
        return ""
    most = drift.streams[0]
    where = {"bin": "confidence ", "class": "answers that say "}.get(most.stream, "all answers")
    side = "too sure" if most.direction == "over" else "too modest"
    return f" Most of it: {where}{escape(most.name or '')}, {side}."


def table(report: Report) -> str:
    """Every measure, now and as the card promised."""
    now = {name: getattr(report.measures, name) for name, _, _ in _ROWS}
    rows = (
        f'<tr><th scope="row">{name}<span>{explained}</span></th><td class="n">{_figure(now[key], key)}</td>'
        f'<td class="n">{_figure(report.reference.get(key), key)}</td></tr>'
        for key, name, explained in _ROWS
    )
    interval = f"{percent(report.measures.ece_lower)} to {percent(report.measures.ece_upper)}"
    return (
        '<section class="card scroll"><h2>Now, and as promised</h2>'
        f'<p class="explain">95 % interval of the ECE now: {interval}. The promise is what the card measured before '
        "this version was served.</p><table>"
        '<thead><tr><th></th><th class="n">now</th><th class="n">card</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _figure(ratio: float | None, key: str) -> str:
    return percent(ratio, signed=key == "signed_gap")
