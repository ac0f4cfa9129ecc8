import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from monitoring.metrics.drift_gauges import DriftGauges
from monitoring.metrics.text_format import Exposition
from monitoring.metrics.window_gauges import WindowGauges
from serving.inference.admission import QueueEstimate
from serving.inference.metrics import ServingMetrics
from tests.builders.answers import label, make_row
from tests.builders.monitored import MonitoredModel

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def without_created(text: bytes) -> str:
    """What the library writes, without the series that Candor leaves out."""
    return re.sub(r"(# (HELP|TYPE) )?\w+_created.*\n", "", text.decode())


@pytest.fixture
def busy(monitored: MonitoredModel) -> CollectorRegistry:
    ServingMetrics(monitored.registry).of_version("pneumonia", 1, QueueEstimate(service_s=0.1))
    monitored.registry.register(WindowGauges(monitored.ledger))
    monitored.registry.register(DriftGauges(monitored.ledger))
    monitored.serve(*(make_row(number, confidence=0.5 + number / 200) for number in range(90)))
    monitored.label(*(label(number, "pneumonia" if number % 4 else "normal") for number in range(90)))
    return monitored.registry


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


def test_memory_is_bounded(busy: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    exposition = Exposition(busy)
    first, _ = exposition.render("")
    monkeypatch.setattr("monitoring.metrics.text_format.REMEMBERED", 10)
    assert exposition.render("")[0] == first
