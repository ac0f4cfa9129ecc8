"""GET /metrics."""

from contextlib import nullcontext

from anyio import CapacityLimiter, to_thread
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from monitoring.metrics.counters import read_by_prometheus

# Prometheus reads every counter at zero first, which is what `_created` series are for; they would
# add a third to a scrape, and Prometheus 2 reads them only as an experimental feature in a format
# that Python's client does not write.
disable_created_metrics()  # type: ignore[no-untyped-call]

SCRAPE_HEADER = (
    "x-prometheus-scrape-timeout-seconds"  # sent by Prometheus and by agents built on its scraper
)


class MetricsRoute:
    """GET /metrics, as Prometheus text or as OpenMetrics, which alone has exemplars."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._encoding = CapacityLimiter(1)  # of its own: others' threads may wait for the ledger

    async def get(self, request: Request) -> Response:
        """Every metric of the registry, encoded in a thread: it takes milliseconds per version."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        scraped = SCRAPE_HEADER in request.headers
        with read_by_prometheus(request.client) if scraped else nullcontext():
            # the thread gets a copy of the context
            text = await to_thread.run_sync(encode, self._registry, limiter=self._encoding)
        return Response(text, headers={"content-type": content_type})
