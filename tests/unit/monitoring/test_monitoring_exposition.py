import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from monitoring.metrics.drift_gauges import DriftGauges
from monitoring.metrics.text_format import Exposition
from monitoring.metrics.window_gauges import WindowGauges
from serving.inference.admission import Load
from serving.inference.metrics import ServingMetrics
from tests.unit.monitoring.builders import label, make_row
from tests.unit.monitoring.desk import Desk

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def without_created(text: bytes) -> str:
    """What the library writes, without the series that Candor leaves out."""
    return re.sub(r"(# (HELP|TYPE) )?\w+_created.*\n", "", text.decode())


@pytest.fixture
def busy(desk: Desk) -> CollectorRegistry:
    ServingMetrics(desk.registry).of_version("pneumonia", 1, Load(service_s=0.1))
    desk.registry.register(WindowGauges(desk.ledger))
    desk.registry.register(DriftGauges(desk.ledger))
    desk.serve(*(make_row(number, confidence=0.5 + number / 200) for number in range(90)))
    desk.label(*(label(number, "pneumonia" if number % 4 else "normal") for number in range(90)))
    return desk.registry


def test_it_writes_what_the_client_library_writes(busy: CollectorRegistry) -> None:
    exposition = Exposition(busy)
    for _ in range(2):  # remembered lines are the same lines
        text, content_type = exposition.render("")
        assert content_type.startswith("text/plain; version=0.0.4")
        assert text.decode() == without_created(generate_latest(busy))
        text, content_type = exposition.render(OPENMETRICS)
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        assert text.decode() == without_created(generate_openmetrics(busy))
    assert text.count(b"\n") > 250


def test_openmetrics_can_be_read_back(busy: CollectorRegistry) -> None:
    text, _ = Exposition(busy).render(OPENMETRICS)
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert families["candor_feedback"].type == "counter"
    assert sum(sample.value for sample in families["candor_feedback"].samples) == 90


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


def test_memory_is_bounded(busy: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    exposition = Exposition(busy)
    first, _ = exposition.render("")
    monkeypatch.setattr("monitoring.metrics.text_format.REMEMBERED", 10)
    assert exposition.render("")[0] == first
