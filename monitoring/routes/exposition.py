"""GET /metrics."""

from anyio import to_thread
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response


class MetricsRoute:
    """GET /metrics, as Prometheus text or OpenMetrics, whichever is asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def get(self, request: Request) -> Response:
        """Every metric of the registry."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await to_thread.run_sync(encode, self._registry), headers={"content-type": content_type})
