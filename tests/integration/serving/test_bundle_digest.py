"""A bundle whose bytes differ from the digest in ledger or history."""

import asyncio
from pathlib import Path

import pytest

from model_store.store.canary import read_canary, start_canary
from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import choose
from tests.builders.bundles import build_bundle, png
from tests.builders.services import running

pytestmark = pytest.mark.anyio


def replace_production(store: Store) -> None:
    """Put another bundle under the number in production, with manifest and history that fit it."""
    build_bundle(store.folder("tiny", 1), seed=7)
    (store.model("tiny") / "history.jsonl").unlink()
    store.promote("tiny", 1, by="an attacker")


async def test_the_ledger_holds_the_digest_of_what_answered(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path) as server:
        assert (await server.predict(png())).status_code == 200
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.read() as connection:
        assert choose(connection, "tiny").bundle_digest == tiny_store.read("tiny").digest


async def test_a_bundle_replaced_between_two_starts_is_refused(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path) as server:
        assert (await server.predict(png())).status_code == 200
    replace_production(tiny_store)
    async with running(tiny_store, tmp_path) as server:
        ready = await server.client.get("/readyz")
        assert ready.status_code == 503
        assert "came from a bundle with digest" in ready.json()["refused"]["tiny"]["reason"]
    async with running(tiny_store, tmp_path, ledger="off") as server:  # nobody there to know better
        assert (await server.client.get("/readyz")).status_code == 200


async def test_a_bundle_replaced_while_it_serves_changes_nothing(
    tiny_store: Store, tmp_path: Path
) -> None:
    async with running(tiny_store, tmp_path) as server:
        before = (await server.predict(png())).json()["probabilities"]
        replace_production(tiny_store)
        await asyncio.to_thread(server.service.watcher.scan)
        refused = (await server.client.get("/models")).json()["refused"]["tiny"]
        assert "A version never changes" in refused["reason"]
        assert (await server.predict(png())).json()["probabilities"] == before


async def test_a_canary_that_was_replaced_is_aborted(tiny_store: Store, tmp_path: Path) -> None:
    tiny_store.publish("tiny", build_bundle)
    start_canary(tiny_store, "tiny", 2, mode="header")
    build_bundle(tiny_store.folder("tiny", 2), 2, seed=9)
    async with running(tiny_store, tmp_path):
        canary = read_canary(tiny_store, "tiny")
    assert canary.ended == "aborted"
    assert "but the history (published) names sha256:" in str(canary.reason)
