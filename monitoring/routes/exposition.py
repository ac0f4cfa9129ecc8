"""GET /metrics."""

from anyio import to_thread
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

# Every series here starts at zero, which is what `_created` series are for; they would add a third to a scrape.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricsRoute:
    """GET /metrics, as Prometheus text or OpenMetrics, whichever is asked for. Exemplars exist in OpenMetrics alone."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def get(self, request: Request) -> Response:
        """Every metric of the registry, encoded in a thread: it takes milliseconds per version."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text = await to_thread.run_sync(encode, self._registry)
        return Response(text, headers={"content-type": content_type})
