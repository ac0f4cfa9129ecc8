"""Numbers, times and names as people read them: the filters of the templates."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup


def percent(ratio: float | None, *, signed: bool = False) -> str:
    """A ratio with one decimal, a dash when there is none.

    >>> percent(0.1234), percent(0.05, signed=True), percent(-1e-9), percent(None)
    ('12.3 %', '+5.0 %', '0.0 %', '-')
    """
    if ratio is None or not math.isfinite(ratio):
        return "-"
    rounded = round(100 * ratio, 1) + 0.0  # no minus before zero
    return f"{rounded:{'+' if signed else ''}.1f} %"


def grouped(number: int) -> str:
    """A count with commas.

    >>> grouped(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def duration(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> duration(5), duration(90), duration(7200), duration(172800)
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


def page_path(model: str) -> str:
    """The path of a model's page.

    >>> page_path("a/b")
    '/calibration/a%2Fb/page'
    """
    return f"/calibration/{quote(model, safe='')}/page"


def code_marks(sentence: str) -> Markup:
    """The sentence escaped, with what stands in backquotes as code.

    >>> code_marks("`a < b` & c")
    Markup('<code>a &lt; b</code> &amp; c')
    """
    parts = re.split(r"`([^`]+)`", sentence)  # every other one is code
    return Markup().join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def pretty_json(value: Any) -> str:
    """JSON with line breaks, to be escaped like any text."""
    return json.dumps(value, indent=1)
