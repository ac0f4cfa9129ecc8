from prometheus_client import CollectorRegistry

from serving.inference.metrics import REASONS, ServingMetrics


def test_every_reason_to_refuse_is_shown_from_the_start() -> None:
    registry = CollectorRegistry()
    ServingMetrics(registry)
    assert {"overloaded", "ledger_failed", "internal_error", "client_gone"} <= set(REASONS)
    for reason in REASONS:
        assert registry.get_sample_value("candor_requests_rejected_total", {"reason": reason}) == 0
