"""What every page shares: the frame with its style, and numbers as people read them."""

import math
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import files

from monitoring.findings.status import Status

REFRESH_S = 15
WORDS = {
    Status.OK: "Confidence can be believed",
    Status.EARLY: "Too early to say",
    Status.NO_LABELS: "No labels yet",
    Status.OFF: "Confidence is off",
    Status.ALARM: "Alarm: confidence no longer matches accuracy",
}
SHORT_WORDS = {
    Status.OK: "believable",
    Status.EARLY: "too early",
    Status.NO_LABELS: "no labels",
    Status.OFF: "off",
    Status.ALARM: "alarm",
}


def frame(title: str, body: str, *, refresh_s: int | None = None) -> str:
    """A whole page, which reloads itself if `refresh_s` says so. `title` is text, `body` is HTML."""
    refresh = "" if refresh_s is None else f'<meta http-equiv="refresh" content="{refresh_s}">'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'{refresh}<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_style()}</style></head><body><main>{body}</main></body></html>"
    )


@cache
def _style() -> str:
    return files("monitoring.pages").joinpath("layout.css").read_text(encoding="utf-8")


def percent(ratio: float | None, *, signed: bool = False) -> str:
    """A ratio with one decimal, a dash when there is none.

    >>> percent(0.1234), percent(0.05, signed=True), percent(-1e-9), percent(None)
    ('12.3 %', '+5.0 %', '0.0 %', '-')
    """
    if ratio is None or not math.isfinite(ratio):
        return "-"
    rounded = round(100 * ratio, 1) + 0.0  # no minus before zero
    return f"{rounded:{'+' if signed else ''}.1f} %"


def span(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> span(5), span(90), span(7200), span(172800)
    ('5 s', '2 min', '2.0 h', '2.0 days')
    """
    if not math.isfinite(seconds):
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3_600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 86_400 else f"{seconds / 86_400:.1f} days"


def moment(time_ns: int) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
