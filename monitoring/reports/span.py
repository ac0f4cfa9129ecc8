"""The span of days that charts over time show: all of the window, or the part that a reader looks
at more closely.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

from monitoring.errors import QueryInvalid, brief

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True)
class Span:
    """UTC days since 1970, both included; None where the span has no end."""

    first: int | None = None
    last: int | None = None

    def holds(self, day: int) -> bool:
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)


WHOLE: Final = Span()


def read_span(since: str | None, until: str | None) -> Span:
    """Parse two dates, of which either may be missing or empty. Raises QueryInvalid.

    >>> read_span("1970-01-02", "1970-01-05"), read_span(None, "")
    (Span(first=1, last=4), Span(first=None, last=None))
    """
    span = Span(_read_day(since), _read_day(until))
    if span.first is not None and span.last is not None and span.first > span.last:
        raise QueryInvalid(
            f"The days {brief(since or '')} to {brief(until or '')} are in the wrong order."
        )
    return span


def _read_day(text: str | None) -> int | None:
    if not text:
        return None
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise QueryInvalid(
            f"Got the day {brief(text)}; expected a date such as 2026-10-01."
        ) from None
