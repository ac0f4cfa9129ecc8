"""Windows that are refused."""

import pytest

from monitoring.diagnosis.coverage import first_day
from monitoring.errors import QueryInvalid
from monitoring.ledger.schema import DAY_NS


def test_windows_that_cannot_be_are_refused() -> None:
    for window in ("", "day", "days", "days:0", "days:10001", "days:1e3", "1 day", "last:500"):
        with pytest.raises(QueryInvalid):
            first_day(window, now_ns=0)
    assert first_day("days:30", now_ns=1_000 * DAY_NS) == 971
