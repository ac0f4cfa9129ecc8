import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from monitoring.metrics.ledger_gauges import LedgerGauges
from monitoring.routes.exposition import MetricsRoute
from serving.inference.admission import QueueEstimate
from serving.inference.metrics import ServingMetrics
from tests.builders.answers import label, make_row
from tests.builders.monitored import MonitoredModel

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def busy(monitored: MonitoredModel) -> CollectorRegistry:
    ServingMetrics(monitored.registry).of_version("pneumonia", 1, QueueEstimate(service_s=0.1))
    monitored.registry.register(LedgerGauges(monitored.ledger, clock_s=lambda: 0.0))
    monitored.serve(*(make_row(number, confidence=0.5 + number / 200) for number in range(90)))
    monitored.label(
        *(label(number, "pneumonia" if number % 4 else "normal") for number in range(90))
    )
    return monitored.registry


def test_both_formats_can_be_read_and_a_scrape_reads_the_zero_first(
    busy: CollectorRegistry,
) -> None:
    client = TestClient(Starlette(routes=[Route("/metrics", MetricsRoute(busy).get)]))
    for accept, kind in (("", "text/plain; version=0.0.4"), (OPENMETRICS, OPENMETRICS)):
        answer = client.get("/metrics", headers={"accept": accept})
        assert answer.headers["content-type"].startswith(kind)
        assert answer.text.count("\n") > 250
        assert "_created" not in answer.text

    def labels(**headers: str) -> float:
        text = client.get("/metrics", headers={"accept": OPENMETRICS} | headers).text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert families["candor_feedback"].type == "counter"
        return sum(sample.value for sample in families["candor_feedback"].samples)

    assert labels() == 90
