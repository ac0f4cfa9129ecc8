"""Windows that are refused."""

import pytest

from monitoring.diagnosis.coverage import Window, read_window
from monitoring.errors import QueryInvalid


def test_windows_that_cannot_be_are_refused() -> None:
    for window in [
        *("", "day", "days", "days:0", "days:10001", "promotions", "1 day"),
        *("last", "last:0", "last:-1", "last:100001", "last:1e3", "last:" + "9" * 99),
    ]:
        with pytest.raises(QueryInvalid):
            read_window(window)
        assert read_window("days:30") == Window("days", 30)
