"""Windows that are refused."""

import pytest

from monitoring.errors import QueryInvalid
from monitoring.findings.windows import Window, read_window
from tests.builders.monitored import BOTH_DATABASES

DATABASES = BOTH_DATABASES


@pytest.mark.parametrize(
    "window", ["days:0", "days:10001", "days", "promotions", "last:0", "1 day"]
)
def test_windows_that_cannot_be_are_refused(window: str) -> None:
    with pytest.raises(QueryInvalid, match=r"'days:N'"):
        read_window(window)
    assert read_window("days:30") == Window("days", 30)
