"""A version's word in a table names the rival cause, as the heading does."""

from types import SimpleNamespace
from typing import Any

import pytest

from monitoring.findings.status import Status
from serving.pages.status_words import SHORT_WORDS, short_word


def report(status: Status, *, rival: bool) -> Any:
    return SimpleNamespace(status=status, recommendation=SimpleNamespace(is_rival=rival))


@pytest.mark.parametrize("status", Status)
def test_the_word_is_that_of_the_status_unless_the_labels_may_be_chosen(status: Status) -> None:
    assert short_word(report(status, rival=False)) == SHORT_WORDS[status]
    chosen = short_word(report(status, rival=True))
    assert ("or labels that are not typical" in chosen) == (status in (Status.OFF, Status.ALARM))
