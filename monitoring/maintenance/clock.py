"""Whether the clock may be trusted to delete by: a clock that jumps a year ahead would delete
everything.

Refused are a step of the clock against the machine's time since its start, and an absence too long
to be believed: the leader notes every hour in the ledger when it was last in use. A person who
knows better prunes by hand.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from monitoring.errors import ClockDoubtful
from monitoring.ledger.database import Ledger
from monitoring.ledger.predictions import set_used, used_ns

LARGEST_STEP_NS: Final = 3_600 * 10**9
LONGEST_ABSENCE_NS: Final = 7 * 86_400 * 10**9
NOTED_EVERY_NS: Final = 3_600 * 10**9


def since_start_ns() -> int:
    """Nanoseconds since the machine's start, suspended or not; no clock step changes them."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class ClockWatch:
    """Compares a ledger's clock with the machine's time and the ledger's last use."""

    def __init__(self, ledger: Ledger, *, steady_ns: Callable[[], int] = since_start_ns) -> None:
        self._ledger, self._steady_ns = ledger, steady_ns
        self._offset_ns = ledger.clock() - steady_ns()

    def check(self) -> int:
        """Note a use; return the time that was checked, for whatever is deleted by it.

        Raises ClockDoubtful if the clock cannot be trusted to delete by.
        """
        now_ns = self._ledger.clock()  # once: another look may see a clock that was set meanwhile
        step_ns = now_ns - self._steady_ns() - self._offset_ns
        if abs(step_ns) > LARGEST_STEP_NS and _is_trusted(self._ledger, now_ns):
            self._offset_ns += step_ns
        elif abs(step_ns) > LARGEST_STEP_NS:
            raise ClockDoubtful(
                f"the clock was set from {moment(now_ns - step_ns)} to {moment(now_ns)}"
            )
        return check_absence(self._ledger, now_ns)


def check_absence(ledger: Ledger, now_ns: int) -> int:
    """Note a use and return it. Raises ClockDoubtful: the last was a week before, or is to come."""
    last_ns = last_use_ns(ledger, now_ns)
    if last_ns is None or now_ns - last_ns >= NOTED_EVERY_NS:
        trust(ledger, now_ns)
    return now_ns


def last_use_ns(ledger: Ledger, now_ns: int) -> int | None:
    """Return when the ledger was last in use, of one that is only read. Raises as
    `check_absence`.
    """
    with ledger.read() as connection:
        last_ns = used_ns(connection)
    if last_ns is not None and not -LARGEST_STEP_NS <= now_ns - last_ns <= LONGEST_ABSENCE_NS:
        raise ClockDoubtful(
            f"it is {moment(now_ns)} by the clock, and the ledger was last in use at "
            f"{moment(last_ns)}"
        )
    return last_ns


def _is_trusted(ledger: Ledger, now_ns: int) -> bool:
    """Whether another process or a person noted a use of the ledger at about this time."""
    with ledger.read() as connection:
        last_ns = used_ns(connection)
    return last_ns is not None and abs(now_ns - last_ns) <= NOTED_EVERY_NS


def trust(ledger: Ledger, now_ns: int) -> None:
    """Note that the ledger is in use at `now_ns`: somebody knows that the clock is right."""
    with ledger.write() as connection:
        set_used(connection, now_ns)


def moment(at_ns: int) -> str:
    """A time in UTC, to the minute."""
    return (
        datetime.fromtimestamp(at_ns / 1e9, UTC)
        .isoformat(sep=" ", timespec="minutes")
        .replace("+00:00", " UTC")
    )
