"""GET /metrics."""

from anyio import to_thread
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from monitoring.metrics.text_format import Exposition


class MetricsRoute:
    """GET /metrics, as Prometheus text or OpenMetrics, whichever is asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._exposition = Exposition(registry)

    async def get(self, request: Request) -> Response:
        """Every metric of the registry."""
        text, content_type = await to_thread.run_sync(self._exposition.render, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})
