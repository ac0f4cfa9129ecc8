"""Labels of a report that came before its watch began again: an acknowledged error is still in
them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from monitoring.drift import events
from monitoring.findings.drift import Drift
from monitoring.findings.windows import Window


def earlier_labels(
    history: Sequence[events.Event],
    drift: Drift | None,
    *,
    labels: int,
    window: Window,
    audited: bool,
) -> str:
    """Say how many of the report's `labels` came before the last reset; empty if none did.

    Args:
        history: events of the version, not of tags, oldest first.
        drift: the watch; None if the version is not watched.
        labels: on which the report rests.
        window: of the report. One of days does not tell labels of one day apart, so nothing is
            counted there.
        audited: whether only audited labels count in the report.
    """
    restarts = [event for event in history if event.kind in (events.ACKNOWLEDGED, events.RESET)]
    if (
        drift is None
        or not restarts
        or drift.audit != audited
        or window.kind not in ("all", "last")
    ):
        return ""
    since, last = drift.labels, restarts[-1]
    earlier = labels - since
    if earlier <= 0:
        return ""
    day = datetime.fromtimestamp(last.at_ns / 1e9, tz=UTC).date()
    what = "the alarm was acknowledged" if last.detail.get("was_active") else "the watch was reset"
    if not since:
        return (
            f"All these labels came before {what} on {day}: they say nothing about the time since."
        )
    return (
        f"{earlier:,} of these labels came before {what} on {day}; the window last:{since} shows "
        f"the {since:,} since."
    )
