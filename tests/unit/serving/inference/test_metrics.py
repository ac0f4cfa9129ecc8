from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from serving.inference.admission import QueueEstimate
from serving.inference.metrics import REASONS, ServingMetrics

ID = UUID("01998c2e-0000-7000-8000-000000000001")
ENTRIES: Any = [SimpleNamespace(arrived_s=1.0), SimpleNamespace(arrived_s=1.5)]


def exposed(exemplars: bool, first_id: bytes | None = ID.bytes) -> str:
    registry = CollectorRegistry()
    version = ServingMetrics(registry, exemplars=exemplars).of_version(
        "tiny", 1, QueueEstimate(service_s=0.1)
    )
    version.observe(ENTRIES, now_s=2.0, inference_s=0.1, first_id=first_id)
    return generate_latest(registry).decode()


def test_the_longest_wait_of_a_batch_names_its_answer() -> None:
    (line,) = (line for line in exposed(True).splitlines() if "prediction_id" in line)
    assert line.startswith(
        'candor_request_duration_seconds_bucket{le="1.0",model="tiny",version="1"} 2.0 # '
    )
    assert f'{{prediction_id="{ID}"}} 1.0 ' in line


@pytest.mark.parametrize(("exemplars", "first_id"), [(False, ID.bytes), (True, None)])
def test_without_exemplars_or_without_an_answer_none_is_named(
    exemplars: bool, first_id: bytes | None
) -> None:
    assert "prediction_id" not in exposed(exemplars, first_id)


def test_every_reason_to_refuse_is_shown_from_the_start() -> None:
    registry = CollectorRegistry()
    ServingMetrics(registry)
    assert {"overloaded", "ledger_failed", "internal_error", "client_gone"} <= set(REASONS)
    for reason in REASONS:
        assert registry.get_sample_value("candor_requests_rejected_total", {"reason": reason}) == 0
