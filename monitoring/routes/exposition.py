"""GET /metrics."""

from anyio import CapacityLimiter, to_thread
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

# `_created` series would add a third to a scrape, and Prometheus 2 reads them only as an
# experimental feature in a format that Python's client does not write.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricsRoute:
    """GET /metrics, as Prometheus text or as OpenMetrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._encoding = CapacityLimiter(1)  # of its own: others' threads may wait for the ledger

    async def get(self, request: Request) -> Response:
        """Every metric of the registry, encoded in a thread: it takes milliseconds per version."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text = await to_thread.run_sync(encode, self._registry, limiter=self._encoding)
        return Response(text, headers={"content-type": content_type})
