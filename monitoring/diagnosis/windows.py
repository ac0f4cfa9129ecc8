"""Windows: the labeled answers that a report covers.

`all`; `last:N`, the N answers whose first label arrived last; `days:N`, served on the last N days
(UTC, including today); `promotion`, served since the day of this version's latest promotion. All
except `last:N` are read from the day sums, so their cost does not depend on the number of answers.
"""

import re
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, select

from calibration.bins import BinSums
from monitoring.drift import events
from monitoring.errors import QueryInvalid, brief
from monitoring.ledger.schema import DAY_NS, label_current
from monitoring.ledger.sums import LedgerSums, read_sums

ALL = "all"
LAST_LIMIT = 100_000
DAYS_LIMIT = 10_000


@dataclass(frozen=True)
class Window:
    """A window as requested; `number` is the N of `last` and `days`."""

    kind: Literal["all", "last", "days", "promotion"] = "all"
    number: int = 0

    def since_day(
        self, connection: Connection, watched_version_id: int, *, now_ns: int
    ) -> int | None:
        """Return the first UTC day of the window, counted from 1970; None if all days count."""
        if self.kind == "days":
            return now_ns // DAY_NS - self.number + 1
        if self.kind == "promotion":
            promoted = events.latest(events.read(connection, watched_version_id), events.PROMOTED)
            return None if promoted is None else promoted.at_ns // DAY_NS
        return None


@dataclass(frozen=True)
class Windowed:
    """A window's labeled answers, and all answers of the same days (all days for `last:N`)."""

    labeled: BinSums
    served: LedgerSums
    since_day: int | None


def read_window(window: str) -> Window:
    """Parse a window. Raises QueryInvalid.

    >>> read_window("last:500"), read_window("all")
    (Window(kind='last', number=500), Window(kind='all', number=0))
    """
    if window == "all":
        return Window("all")
    if window == "promotion":
        return Window("promotion")
    found = re.fullmatch(r"(last|days):([0-9]{1,9})", window)
    if found is not None and found[1] == "last" and 1 <= int(found[2]) <= LAST_LIMIT:
        return Window("last", int(found[2]))
    if found is not None and found[1] == "days" and 1 <= int(found[2]) <= DAYS_LIMIT:
        return Window("days", int(found[2]))
    raise QueryInvalid(
        f"Got the window {brief(window)}; expected 'all', 'promotion', 'days:N' or 'last:N', with "
        f"N up to {DAYS_LIMIT:,} days or {LAST_LIMIT:,} labels."
    )


def window_sums(
    connection: Connection, watched_version_id: int, window: Window, *, now_ns: int
) -> Windowed:
    """Read the sums of a window of a calibration."""
    since_day = window.since_day(connection, watched_version_id, now_ns=now_ns)
    sums = read_sums(connection, watched_version_id, since_day=since_day)
    last = window.kind == "last"
    return Windowed(
        last_labeled(connection, watched_version_id, window.number) if last else sums.labeled,
        sums,
        since_day,
    )


def last_labeled(connection: Connection, watched_version_id: int, last: int) -> BinSums:
    """Sum the `last` answers whose first label arrived last, with their current labels."""
    newest_first = label_current.c.first_feedback_id.desc()
    wanted = select(label_current.c.confidence, label_current.c.correct).filter_by(
        watched_version_id=watched_version_id
    )
    rows = connection.execute(wanted.order_by(newest_first).limit(last)).all()
    return BinSums.from_predictions([row.confidence for row in rows], [row.correct for row in rows])
