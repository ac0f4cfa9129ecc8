"""The whole server but its socket, for requests through ASGI."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from model_store.store import Store
from serving.deployment.loaded_models import LoadedModels
from serving.process.monitor import open_monitor
from serving.process.server import Service
from serving.settings import Settings


class Running:
    """A client of a running service, the service, and its registry."""

    def __init__(
        self, client: httpx.AsyncClient, service: Service, registry: CollectorRegistry, folder: Path
    ) -> None:
        self.client, self.service, self.registry, self.folder = client, service, registry, folder

    async def predict(
        self, content: bytes, path: str = "/predictions/tiny", **headers: str
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, content=content, headers=named)

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running(store: Store, folder: Path, **options: Any) -> AsyncIterator[Running]:
    of_store = {"store": store.address or store.root, "store_cache": store.root}
    settings = Settings(
        **of_store | {"ledger": f"sqlite:///{folder / 'ledger.db'}", "threads": 1} | options
    )
    registry, models = CollectorRegistry(), LoadedModels()
    with open_monitor(settings, registry, production=models.production) as monitor:
        service = Service(settings, registry, monitor, models)
        await asyncio.to_thread(service.watcher.scan)
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://candor") as client:
            yield Running(client, service, registry, folder)
        service.close()
