"""Figures of a page are ints and floats on both databases."""

import dataclasses
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from console.report_document import report_page
from monitoring.reports.page_data import read_page_data
from tests.builders.answers import label, make_row
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel

DATABASES = BOTH_DATABASES


def figures(value: Any) -> Iterator[Any]:
    """What a structure of data classes, mappings and sequences holds, all the way down."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from figures(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from figures(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from figures(inner)
    else:
        yield value


def test_no_figure_of_a_page_is_a_decimal(ledger_url: str) -> None:
    with MonitoredModel(ledger_url, Clock()) as monitored:
        monitored.recorder.promote(monitored.watched_version_id).result()
        monitored.serve(*(make_row(number, confidence=0.6 + number / 100) for number in range(30)))
        monitored.label(*(label(number) for number in range(20)))
        found = read_page_data(monitored.ledger, monitored.card.name)
        assert [each for each in figures(found) if isinstance(each, Decimal)] == []
        assert "20" in report_page(found)
