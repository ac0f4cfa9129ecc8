import pytest

from monitoring.errors import QueryInvalid
from monitoring.reports.page_data import window_since
from tests.builders.answers import NOW_NS


def test_a_beginning_that_cannot_be_is_refused() -> None:
    for text in ["30", "d", "0d", "99999d", "2026-13-01", "tomorrow", "2030-01-01", "", "1" * 500]:
        with pytest.raises(QueryInvalid):
            window_since(text, now_ns=NOW_NS)
