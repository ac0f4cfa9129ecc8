"""Filters of the templates: numbers, times and names as people read them."""

import json
import math
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup

from calibration.scope.verdict import scope_of
from calibration.wording import counted, percent
from console.reader import reader
from monitoring.ledger.days import day_date


def grouped(number: int) -> str:
    """A count with its digits in groups.

    >>> grouped(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def whole_percent(share: float) -> str:
    """A share in whole percent, however large.

    >>> whole_percent(0.456), whole_percent(12.5)
    ('46 %', 'over 999 %')
    """
    return "over 999 %" if share >= 9.995 else f"{100 * share:.0f} %"


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
    if seconds < 86_400:
        return f"{seconds / 3_600:.1f} h"
    return f"{seconds / 86_400:.1f} days"


def instant(at: datetime, *, seconds: bool = False) -> Markup:
    """A time in the reader's zone, which it names; hovering shows UTC."""
    local, utc = at.astimezone(reader().zone), at.astimezone(UTC)
    zone = local.strftime("%Z")
    shown = local.strftime(f"%Y-%m-%d %H:%M{':%S' if seconds else ''}")
    named = zone if zone[:1].isalpha() else f"UTC{zone}"
    in_utc = Markup(' title="{}"').format(utc.strftime("%Y-%m-%d %H:%M:%S UTC"))
    title, stamp = "" if named == "UTC" else in_utc, utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}"{}>{} {}</time>').format(stamp, title, shown, named)


def now() -> Markup:
    return instant(datetime.now(UTC), seconds=True)


def calendar_day(day: int) -> str:
    """A UTC day, counted from 1970.

    >>> calendar_day(20_000)
    '2024-10-04'
    """
    return day_date(day).isoformat()


def span(lower: str, upper: str) -> str:
    """The two ends of a range.

    >>> span("1 %", "2 %")
    '1 % to 2 %'
    """
    return f"{lower} to {upper}"


def moment(time_ns: int) -> Markup:
    """A time in nanoseconds since 1970 in the reader's zone, to the second.

    >>> str(moment(0))
    '<time datetime="1970-01-01T00:00:00Z">1970-01-01 00:00:00 UTC</time>'
    """
    return instant(datetime.fromtimestamp(time_ns / 1e9, UTC), seconds=True)


def stamped(at: str | datetime) -> Markup:
    """A time, ISO 8601 or an object, in the reader's zone to the minute; UTC without a zone.

    >>> str(stamped("2026-09-22T10:00:00"))
    '<time datetime="2026-09-22T10:00:00Z">2026-09-22 10:00 UTC</time>'
    """
    local = datetime.fromisoformat(at) if isinstance(at, str) else at
    return instant(local if local.tzinfo else local.replace(tzinfo=UTC))


def _of_model(pattern: str) -> Callable[[str], str]:
    return lambda model: pattern.format(quote(model, safe=""))


# The paths of a model's pages.
page_path = _of_model("/models/{}/report/page")
answers_path = _of_model("/models/{}/answers/page")
slices_path = _of_model("/slices/{}")
report_path = _of_model("/report/{}")
note_path = _of_model("/note/{}")
label_path = _of_model("/label/{}")
versions_path = _of_model("/versions/{}")
recalibrate_path = _of_model("/recalibrate/{}")
try_path = _of_model("/try/{}")


def code_marks(sentence: str) -> Markup:
    """Escape a sentence and mark what is in backquotes as code.

    >>> code_marks("`a < b` & c")
    Markup('<code>a &lt; b</code> &amp; c')
    """
    parts = re.split(r"`([^`]+)`", sentence)  # every other one is code
    return Markup().join(
        Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts)
    )


def counted_labels(number: int) -> str:
    return counted(number, "label")


def counted_answers(number: int) -> str:
    return counted(number, "answer")


SCOPE_WORDS: Final = {"in": "in scope", "doubtful": "doubtful image", "out": "out of scope"}


def scope_doubt(p: float | None, images: int) -> str:
    """How the scope check, made of so many images, doubts an image with this p-value, by the alpha
    of reports; empty if it does not.

    >>> scope_doubt(0.001, 999), scope_doubt(0.4, 999)
    ('out of scope', '')
    """
    found = "in" if p is None or not images else scope_of(p, images)
    return "" if found == "in" else SCOPE_WORDS[found]


def scope_sentence(p: float) -> str:
    return (
        f"Of images that the model was made for, at most {percent(p)} are as unusual as this one."
    )


def pretty_json(value: Any) -> str:
    return json.dumps(value, indent=1)


def base64(data: bytes) -> str:
    return b64encode(data).decode()
