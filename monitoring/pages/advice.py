"""What a report says in words as parts of a page: should I be worried, for whom, what are the signs, what happened."""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from typing import Any

from monitoring.findings.signs import Sign
from monitoring.findings.slices import Slice, Slices
from monitoring.ledger.days import Days
from monitoring.pages.day_chart import Mark, day_chart
from monitoring.pages.layout import SHORT_WORDS, percent
from monitoring.reports.report import Report

_SHOWN = 12  # slices in a table


def advice(report: Report) -> str:
    """Should I be worried, on what evidence, and what to do."""
    found = report.recommendation
    return (
        f'<section class="card advice {found.status}"><h2>Should you be worried?</h2><p class="sentence">'
        f"{escape(found.worried)}</p>{_listed('Evidence', found.evidence)}{_listed('What to do', found.what_to_do)}"
        "</section>"
    )


def by_day(days: Sequence[Days], entries: Iterable[dict[str, Any]]) -> str:
    """The chart of calibration error by day, with the alarms and promotions of this version on it."""
    marks = [Mark(_day(entry), entry["kind"], entry["sentence"]) for entry in entries if entry["kind"] in _MARKED]
    return (
        '<section class="card"><h2>Day by day</h2><p class="explain">Calibration error by the day the answers were '
        "served. Chance keeps a perfect model's dots in the gray in 19 days of 20; dashed is their mean, the floor.</p>"
        f"{day_chart(days, marks)}"
        '<p class="legend"><span><i style="background:var(--accent)"></i>ECE of a day (hollow: under 20 labels)</span>'
        '<span><i style="background:var(--muted);opacity:.4;border-radius:2px"></i>what chance explains</span>'
        '<span><i style="background:var(--bad)"></i>alarm</span>'
        '<span><i style="background:var(--good)"></i>promoted or acknowledged</span></p></section>'
    )


def slices(found: Slices | None) -> str:
    """For whom: the slices that are known when the model answers, worst first, and recall by true class."""
    if found is None or not found.known:
        return ""
    hidden = len(found.known) - _SHOWN
    more = f'<p class="explain">{hidden} more, less far off, are in the JSON report.</p>' if hidden > 0 else ""
    return (
        '<section class="card scroll"><h2>For whom</h2><p class="explain">By the class that was said and by what the '
        f"caller sent along, worst first. {found.tested} were tested together: <b>off</b> means more than chance, "
        "though so many were looked at.</p><table><thead><tr><th>answers</th>"
        '<th class="n">confidence minus accuracy</th><th class="n">interval for all at once</th>'
        '<th class="n">accuracy</th><th class="n">labels</th><th></th></tr></thead><tbody>'
        f"{''.join(map(_slice, found.known[:_SHOWN]))}</tbody></table>{more}{_by_true_class(found)}</section>"
    )


def signs(found: Sequence[Sign]) -> str:
    """What can be seen without labels."""
    items = "".join(f"<li>{'<b>Changed:</b> ' if sign.raised else ''}{escape(sign.sentence)}</li>" for sign in found)
    return (
        '<section class="card"><h2>Signs that need no labels</h2><p class="explain">They come early and prove nothing: '
        f"only labels tell whether confidence is true.</p><ul>{items}</ul></section>"
    )


def happened(entries: Sequence[dict[str, Any]]) -> str:
    """The history of a model, newest first."""
    if not entries:
        return ""
    rows = "".join(
        f'<tr class="{_tone(entry["kind"])}"><td class="n">{entry["at"][:16].replace("T", " ")}</td>'
        f'<td class="n">{entry["version"]}</td><td><span class="pill">{entry["kind"]}</span></td>'
        f"<td>{escape(entry['sentence'])}</td></tr>"
        for entry in reversed(entries)
    )
    return (
        '<section class="card scroll"><h2>What happened</h2><table><thead><tr><th class="n">UTC</th>'
        f'<th class="n">version</th><th></th><th></th></tr></thead><tbody>{rows}</tbody></table></section>'
    )


def versions(reports: Sequence[Report]) -> str:
    """Versions of one model side by side."""
    if len(reports) < 2:
        return ""
    rows = "".join(
        f'<tr class="{report.status}"><td>version {report.version}</td>'
        f'<td><span class="pill">{SHORT_WORDS[report.status]}</span></td>'
        f'<td class="n">{report.coverage.served:,}</td><td class="n">{report.measures.n:,}</td>'
        f'<td class="n">{percent(report.measures.accuracy)}</td>'
        f'<td class="n">{percent(report.measures.signed_gap, signed=True)}</td>'
        f'<td class="n">{percent(report.measures.ece)}</td>'
        f'<td class="n">{percent(report.measures.noise_floor)}</td></tr>'
        for report in reports
    )
    return (
        '<section class="card scroll"><h2>Versions side by side</h2><table><thead><tr><th></th><th></th>'
        '<th class="n">answers</th><th class="n">labels</th><th class="n">accuracy</th>'
        '<th class="n">confidence minus accuracy</th><th class="n">ECE</th><th class="n">noise floor</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></section>"
    )


_MARKED = ("alarm", "acknowledged", "reset", "promoted")
_TONES = {"alarm": "alarm", "acknowledged": "ok", "reset": "ok", "promoted": "ok"}


def _tone(kind: str) -> str:
    return _TONES.get(kind, "early")


def _day(entry: dict[str, Any]) -> int:
    return date.fromisoformat(entry["at"][:10]).toordinal() - date(1970, 1, 1).toordinal()


def _listed(title: str, sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{_marked_up(sentence)}</li>" for sentence in sentences)
    return f"<h3>{title}</h3><ul>{items}</ul>" if sentences else ""


def _marked_up(sentence: str) -> str:
    """Escaped, with what stands in backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(sentence))


def _slice(each: Slice) -> str:
    kind, _, name = each.name.partition(":")
    said = f"that say <b>{escape(name)}</b>" if kind == "predicted" else f"with <b>{escape(name)}</b>"
    interval = f"{percent(each.gap_lower, signed=True)} to {percent(each.gap_upper, signed=True)}"
    word = '<span class="pill">off</span>' if each.significant else ""
    return (
        f'<tr class="{"alarm" if each.significant else "ok"}"><td>{said}</td>'
        f'<td class="n">{percent(each.signed_gap, signed=True)}</td>'
        f'<td class="n">{interval if math.isfinite(each.gap_lower) else "too few labels"}</td>'
        f'<td class="n">{percent(each.accuracy)}</td><td class="n">{each.n:,}</td><td>{word}</td></tr>'
    )


def _by_true_class(found: Slices) -> str:
    if not found.by_true_class:
        return ""
    said = "; ".join(
        f"{escape(each.name.removeprefix('true:'))} {percent(each.accuracy)} of {each.n:,}"
        for each in found.by_true_class
    )
    return (
        f'<p class="explain">Of the labeled answers that truly were: {said} were recognized. That is recall, not '
        "calibration: nobody knows the true class when the model answers.</p>"
    )
