"""Filters of the templates: numbers, times and names as people read them."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup


def grouped(number: int) -> str:
    """A count with commas.

    >>> grouped(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def duration(seconds: float) -> str:
    """A duration in a suitable unit.

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


def label_path(model: str) -> str:
    """The path at which answers of a model are labeled.

    >>> label_path("a b")
    '/label/a%20b'
    """
    return f"/label/{quote(model, safe='')}"


def versions_path(model: str) -> str:
    """The path of the page with a model's versions.

    >>> versions_path("a b")
    '/versions/a%20b'
    """
    return f"/versions/{quote(model, safe='')}"


def download_path(model: str, file: str) -> str:
    """The path of a chart or table of a model's page as a file.

    >>> download_path("a b", "days.csv")
    '/calibration/a%20b/download/days.csv'
    """
    return f"/calibration/{quote(model, safe='')}/download/{file}"


def recalibrate_path(model: str) -> str:
    """The path of the page on which a model is recalibrated.

    >>> recalibrate_path("a b")
    '/recalibrate/a%20b'
    """
    return f"/recalibrate/{quote(model, safe='')}"


def try_path(model: str) -> str:
    """The path at which images are tried on a model.

    >>> try_path("a b")
    '/try/a%20b'
    """
    return f"/try/{quote(model, safe='')}"


def code_marks(sentence: str) -> Markup:
    """Escape a sentence and mark what is in backquotes as code.

    >>> code_marks("`a < b` & c")
    Markup('<code>a &lt; b</code> &amp; c')
    """
    parts = re.split(r"`([^`]+)`", sentence)  # every other one is code
    return Markup().join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def pretty_json(value: Any) -> str:
    """JSON with line breaks."""
    return json.dumps(value, indent=1)
