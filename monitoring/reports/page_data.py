"""The data of a page about one version of a model: its report, days and history, and the other
versions; and the span of days that its charts show: all of the window, or the part that a reader
looks at more closely.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from monitoring.diagnosis.coverage import DAYS_LIMIT, NOW, first_day
from monitoring.diagnosis.live_comparison import LiveComparison
from monitoring.diagnosis.reading import read_inferred
from monitoring.errors import QueryInvalid, brief
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import Days, read_days
from monitoring.ledger.schema import DAY_NS, EVERYTHING, LAST_DAY
from monitoring.ledger.sum_tables import AUDIT
from monitoring.ledger.versions import choose
from monitoring.reports.report import Report, calibration_report, compare_live_versions
from monitoring.reports.timeline import VersionedEntry, read_timeline

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

    >>> read_span("1970-01-02", "1970-01-05"), read_span("0001-01-01", "")
    (Span(first=1, last=4), Span(first=0, last=None))
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
        day = (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise QueryInvalid(
            f"Got the day {brief(text)}; expected a date such as 2026-10-01."
        ) from None
    return min(max(day, 0), LAST_DAY)  # the same answers, in numbers that a ledger can hold


_OTHER_VERSIONS = 5  # the newest, beside the one reported on


class OtherVersion(NamedTuple):
    """A version over the same window, other versions without slices; `compared`: it minus the
    version that the page is about, None if it is that or too few labels compare them.
    """

    report: Report
    compared: LiveComparison | None


@dataclass(frozen=True)
class PageData:
    """What a page shows.

    Attributes:
        report: of the requested version and window.
        since_day: first UTC day of the window, counted from 1970; None if it has no first day.
        days: this version's days in the window and the span, with audited answers alone where the
            audit decides.
        entries: the model's history in the window, all versions, newest last.
        versions: this version and the newest others, newest first.
        affected, others: the days in the window and the span, of the answers that the diagnosis
            names (all without an error) and of the rest; only answers that the ledger still has.
        span: the days that charts over time show.
        extent: the first and the last day that they could show; None if there is none.
        gap: what the open questions were asked about; None: what is worth knowing.
    """

    report: Report
    since_day: int | None
    days: tuple[Days, ...]
    affected: tuple[Days, ...]
    others: tuple[Days, ...]
    entries: tuple[VersionedEntry, ...]
    versions: tuple[OtherVersion, ...]
    span: Span
    extent: tuple[int, int] | None
    gap: float | None = None

    @property
    def of_this_version(self) -> list[VersionedEntry]:
        return [entry for entry in self.entries if entry["version"] == self.report.version]


def read_page_data(
    ledger: Ledger,
    model: str,
    *,
    version: int | None = None,
    finding: str | None = None,
    window: str = NOW,
    span: Span = WHOLE,
    gap: float | None = None,
) -> PageData:
    """Read the data of a page. Raises what `calibration_report` raises."""
    report = calibration_report(
        ledger, model, version=version, finding=finding, window=window, gap=gap
    )
    with ledger.read() as connection:
        row = choose(connection, model, report.version, report.finding)
        since_day = first_day(window, now_ns=report.generated_at_ns)
        heard = AUDIT if report.audited else EVERYTHING
        days = read_days(connection, row.watched_version_id, since_day=since_day, name=heard)
        inferred = read_inferred(ledger, connection, row)
        entries = read_timeline(connection, model, finding=report.finding, since_day=since_day)
    others = [
        number for number in sorted(report.versions, reverse=True) if number != report.version
    ][:_OTHER_VERSIONS]
    beside = [OtherVersion(report, None), *(_beside(ledger, report, each) for each in others)]
    versions = sorted(beside, key=lambda each: each.report.version, reverse=True)

    def shown(found: Sequence[Days]) -> tuple[Days, ...]:
        first = since_day or 0
        return tuple(each for each in found if each.first >= first and span.holds(each.first))

    return PageData(
        report,
        since_day,
        shown(days),
        shown(inferred.affected),
        shown(inferred.others),
        tuple(entries),
        tuple(versions),
        span,
        (days[0].first, days[-1].last) if days else None,
        gap,
    )


def _beside(ledger: Ledger, shown: Report, version: int) -> OtherVersion:
    model, finding = shown.model, shown.finding
    report = calibration_report(
        ledger, model, version=version, finding=finding, window=shown.window, slices=False
    )
    compared = compare_live_versions(ledger, model, shown.version, version, finding=finding)
    return OtherVersion(report, compared)


def window_since(text: str, *, now_ns: int) -> str:
    """Return the window since `30d` ago or since a date (`2026-10-01`). Raises QueryInvalid.

    >>> window_since("30d", now_ns=0), window_since("1970-01-01", now_ns=2 * 86_400 * 10**9)
    ('days:30', 'days:3')
    """
    if (found := re.fullmatch(r"([0-9]{1,5})d", text)) is not None and 1 <= int(
        found[1]
    ) <= DAYS_LIMIT:
        return f"days:{int(found[1])}"
    try:
        number = now_ns // DAY_NS - (date.fromisoformat(text) - _EPOCH).days + 1
    except ValueError:
        number = 0
    if not 1 <= number <= DAYS_LIMIT:
        raise QueryInvalid(
            f"Got the start {brief(text)}; expected a number of days such as 30d, or a date in the "
            "past such as 2026-10-01."
        )
    return f"days:{number}"


def entry_day(entry: VersionedEntry) -> int:
    """Return the UTC day of an event, counted from 1970."""
    return (date.fromisoformat(entry["at"][:10]) - _EPOCH).days
