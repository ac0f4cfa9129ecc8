"""A server with a store on S3: follows, refuses what changed, starts while S3 is away."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from hosting.settings import Settings
from model_store.store.store import Store, open_store
from tests.builders.bundles import build_bundle, png
from tests.builders.object_store import object_store
from tests.builders.services import running

pytestmark = pytest.mark.anyio


async def test_a_server_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "candor" / "store"
    with object_store() as s3:
        for name, value in s3.variables.items():
            monkeypatch.setenv(name, value)
        address = f"s3://{s3.bucket}/models"
        store = open_store(address, cache=tmp_path / "publisher")
        for seed in range(2):
            store.publish("tiny", partial(build_bundle, seed=seed))
        store.promote("tiny", 1)
        async with running(Store(cache, address), tmp_path) as server:
            answer = await server.predict(png())
            assert answer.json()["version"] == 1
            store.promote("tiny", 2)
            await asyncio.sleep(0.6)  # a listing is used for half a second
            await asyncio.to_thread(server.service.watcher.scan)
            assert (await server.predict(png())).json()["version"] == 2
            explained = await server.predict(png(), path="/predictions/tiny?explain=occlusion")
            assert explained.status_code == 200
    async with running(Store(cache, address), tmp_path) as server:
        assert (await server.predict(png())).json()["version"] == 2
        assert (await server.client.get("/readyz")).status_code == 200


def test_a_store_at_an_address_is_asked_less_often() -> None:
    assert Settings().scan_s == 0.5
    assert Settings(store="s3://bucket/models").scan_s == 5.0
