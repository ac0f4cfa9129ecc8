"""The whole server but its socket, for requests through ASGI, and labeled answers in its ledger."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import numpy as np
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from calibration.calibrators.temperature import softmax
from console.monitor import open_monitor
from hosting.settings import Settings
from model_store.store.store import Store
from monitoring.feedback import FeedbackItem
from monitoring.recording.recorder import Recorder
from serving.deployment.loaded_models import LoadedModels
from serving.process.server import Service
from tests.builders.answers import draw, row_of
from tests.builders.processes import PATIENCE_S

PAGE = {"accept": "text/html"}
ADMIN = {"authorization": "Bearer a-token-for-everything"} | PAGE
READER = {"authorization": "Bearer a-token-for-reading"} | PAGE
TOKENS = SecretStr("a-token-for-everything admin eve; a-token-for-reading read")  # of these two


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

    async def page(self, path: str, headers: dict[str, str] = ADMIN) -> str:
        """A page as a browser gets it."""
        answer = await self.client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def ledger_rows(folder: Path, sql: str) -> list[Any]:
    """What the ledger in a folder holds."""
    with closing(sqlite3.connect(folder / "ledger.db")) as opened:
        return opened.execute(sql).fetchall()


def refusal(response: httpx.Response) -> tuple[int, str]:
    """The status and the error code of an answer."""
    return response.status_code, response.json()["error"]


@asynccontextmanager
async def running(store: Store, folder: Path, **options: Any) -> AsyncIterator[Running]:
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    place = store.address or store.root
    settings = Settings(**{"store": place, "ledger": ledger, "threads": 1} | options)
    registry, models = CollectorRegistry(), LoadedModels()
    with open_monitor(settings, registry, production=models.production) as monitor:
        service = Service(settings, registry, monitor, models)
        await asyncio.to_thread(service.watcher.scan)
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://candor") as client:
            yield Running(client, service, registry, folder)
        service.close()


async def until(true: Callable[[], object]) -> None:
    """Wait for a condition while the event loop turns."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.02)


def record_labeled(
    recorder: Recorder,
    watched_version_id: int,
    classes: tuple[str, ...],
    *,
    count: int = 400,
    sharpness: float = 2.0,
    first: int = 0,
    tags: str | None = None,
    seed: int = 0,
) -> list[bytes]:
    """Record answers whose logits are `sharpness` times calibrated ones, with labels; return their
    ids.

    One is served each second, the first one in second `first`.
    """
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 3.0, (count, len(classes)))
    truth = draw(rng, softmax(honest))
    rows = [
        row_of(first + number, p, watched_version_id=watched_version_id, tags=tags)
        for number, p in enumerate(softmax(sharpness * honest))
    ]
    heard: SimpleQueue[BaseException | None] = SimpleQueue()
    recorder.record(rows, heard.put)
    assert heard.get(timeout=PATIENCE_S) is None
    pairs = zip(truth, rows, strict=True)
    items = [FeedbackItem(classes[true], row.prediction_id) for true, row in pairs]
    recorder.feedback(items).result(timeout=PATIENCE_S)
    return [row.prediction_id for row in rows]
