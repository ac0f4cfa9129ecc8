import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from monitoring.metrics.text_format import Exposition

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def without_created(text: bytes) -> str:
    """What the library writes, without the series that Candor leaves out."""
    return re.sub(r"(# (HELP|TYPE) )?\w+_created.*\n", "", text.decode())


@given(st.text(), st.text(), st.floats(allow_nan=True))
def test_any_label_and_any_number(help_text: str, value: str, number: float) -> None:
    registry = CollectorRegistry()
    Gauge("g", help_text, ("a", "b"), registry=registry).labels(value, "x").set(number)
    assert Exposition(registry).render("")[0] == generate_latest(registry)
    assert Exposition(registry).render(OPENMETRICS)[0] == generate_openmetrics(registry)


@pytest.mark.parametrize("number", [0.0, -0.0, 1, 999_999.5, 1e6, 123_456_789.0, 1e-7, -2e6, 1e300, float("-inf")])
def test_numbers_are_written_as_go_writes_them(number: float) -> None:
    registry = CollectorRegistry()
    Gauge("g", "", registry=registry).set(number)
    assert Exposition(registry).render("")[0] == generate_latest(registry)


def test_exemplars_are_shown_in_openmetrics_alone() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("h", "", buckets=(1.0,), registry=registry)
    histogram.observe(0.5, {"prediction_id": 'a"b'})
    Counter("c", "", registry=registry).inc(2, {"prediction_id": "z"})
    assert Exposition(registry).render(OPENMETRICS)[0].decode() == without_created(generate_openmetrics(registry))
    assert b'h_bucket{le="1.0"} 1.0 # {prediction_id="a\\"b"} 0.5 ' in Exposition(registry).render(OPENMETRICS)[0]
    assert b"prediction_id" not in Exposition(registry).render("")[0]
