"""A body that is refused is gone with its answer, not with the next full collection of garbage."""

import asyncio
import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from model_store.store.store import Store
from tests.builders.hostile_bodies import BODIES, HostileBody
from tests.builders.services import running

pytestmark = pytest.mark.anyio
# Each is large, and refused at another place on its way.
KINDS = (
    *(
        "zeros",
        "png-chunks",
        "dicom-no-pixels",
        "webp-chunks",
        "json-one-text",
        "json-deep",
        "form-cut",
    ),
    *(
        "infer-deep",
        "infer-inputs",
        "feedback-deep",
        "feedback-one-text",
        "feedback-ndjson-long",
    ),
    *("models-log-deep", "reset-deep"),
)
TIMES = 4


async def status_of(app: ASGIApp, body: HostileBody, data: bytes) -> int:
    """The status of the answer to a body, of which nothing is kept here."""
    parts, statuses = [bytes(bytearray(data))], []
    headers = [
        (name.lower().encode(), value.encode()) for name, value in body.headers(data).items()
    ]
    scope = {
        "type": "http",
        "http_version": "1.0",
        "method": "POST",
        "path": body.path,
        "query_string": b"",
        "headers": headers,
    }

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.Event().wait()  # the client waits for its answer
        return {"type": "http.request", "body": parts.pop(), "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return int(statuses[0])


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
async def test_no_refused_body_stays_in_memory(
    tiny_store: Store, tmp_path: Path, kind: str
) -> None:
    body = BODIES[kind]
    data = body.make()
    async with running(tiny_store, tmp_path) as server:
        # a list says of each item what is wrong
        assert await status_of(server.service.app, body, data) < 500
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(TIMES):
                await status_of(server.service.app, body, data)
            held, _ = tracemalloc.get_traced_memory()
            for _ in range(100):  # a thread lets go of its last body a moment after its answer
                if held < 1.5 * len(data):
                    break
                await asyncio.sleep(0.05)
                held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
        assert held < 1.5 * len(data), f"{held / len(data):.1f} bodies"
