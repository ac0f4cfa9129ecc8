"""Canaries on a real service: who is answered by which version, and the abort that nobody has to
ask for.
"""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select
from typer.testing import CliRunner

from candor import command_line
from model_store.bundle.bundle import Bundle
from model_store.errors import CanaryError, NotInStore
from model_store.lifecycle.canary import end_canary, read_canary, start_canary
from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import label_current, prediction, watched_versions
from serving.deployment.loaded_models import LoadedModels
from serving.inference.batcher import PendingRequest
from serving.process.monitor import open_monitor
from serving.process.server import Service
from serving.settings import Settings

pytestmark = pytest.mark.anyio


@dataclass
class Running:
    """A service on a store with versions 1 (production), 2 and 3, and its client."""

    client: httpx.AsyncClient
    service: Service
    store: Store
    ledger: str

    async def look(self) -> None:
        """Look at the store, as the watcher does all the time."""
        await asyncio.to_thread(self.service.watcher.scan)
        await asyncio.sleep(0)

    def rows(self, version: int) -> int:
        """Answers of a version in the ledger."""
        counted = (
            select(func.count())
            .select_from(
                prediction.join(
                    watched_versions,
                    prediction.c.watched_version_id == watched_versions.c.watched_version_id,
                )
            )
            .where(watched_versions.c.version == version)
        )
        with Ledger(self.ledger) as ledger, ledger.read() as connection:
            return connection.scalar(counted) or 0

    def labels(self) -> list[int]:
        """The current labels of all answers."""
        with Ledger(self.ledger) as ledger, ledger.read() as connection:
            return list(connection.scalars(select(label_current.c.label)))

    async def versions(self, image: bytes, count: int = 8, **headers: str) -> set[int]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answers = [
            await self.client.post("/predictions/tiny", content=image, headers=named)
            for _ in range(count)
        ]
        return {answer.json()["version"] for answer in answers}

    async def label(self, image: bytes, count: int) -> None:
        """Have the canary answer `count` times, and label each answer as wrong."""
        for _ in range(count):
            answer = await self.client.post(
                "/predictions/tiny", content=image, headers={"X-Candor-Canary": "true"}
            )
            given = answer.json()
            wrong = next(name for name in given["probabilities"] if name != given["predicted"])
            sent = await self.client.post(
                "/feedback", json={"prediction_id": given["prediction_id"], "label": wrong}
            )
            assert sent.status_code == 200


@pytest.fixture
async def server(
    tiny_store: Store, tmp_path: Path, make_bundle: Callable[..., Bundle]
) -> AsyncIterator[Running]:
    for seed in (2, 3):
        tiny_store.publish("tiny", partial(make_bundle, name="tiny", seed=seed))
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    settings = Settings(store=tiny_store.root, ledger=ledger, threads=1)
    registry, models = CollectorRegistry(), LoadedModels()
    with open_monitor(settings, registry, production=models.production) as monitor:
        service = Service(settings, registry, monitor, models)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(service.app), base_url="http://candor"
        ) as client:
            started = Running(client, service, tiny_store, ledger)
            await started.look()
            yield started
        service.close()


async def test_a_share_goes_to_the_canary_and_a_header_decides(
    server: Running, png: Callable[..., bytes]
) -> None:
    start_canary(server.store, "tiny", 2, mode="share", share=0.5)
    await server.look()
    assert await server.versions(png(), 40) == {1, 2}
    assert await server.versions(png(), X_Candor_Canary="true") == {2}
    assert await server.versions(png(), X_Candor_Canary="false") == {1}
    refused = await server.client.post(
        "/predictions/tiny", content=png(), headers={"X-Candor-Canary": "perhaps"}
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "malformed_request")


async def test_by_header_only_those_who_ask_get_it(
    server: Running, png: Callable[..., bytes]
) -> None:
    start_canary(server.store, "tiny", 2, mode="header")
    await server.look()
    assert await server.versions(png()) == {1}
    assert await server.versions(png(), X_Candor_Canary="true") == {2}
    image = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1],
        "data": [base64.b64encode(png()).decode()],
    }
    for wish, version in (("true", "2"), ("false", "1")):
        headers = {"X-Candor-Canary": wish}
        answer = await server.client.post(
            "/v2/models/tiny/infer", json={"inputs": [image]}, headers=headers
        )
        assert answer.json()["model_version"] == version


async def test_promoting_and_aborting_end_the_trial(
    server: Running, png: Callable[..., bytes]
) -> None:
    start_canary(server.store, "tiny", 2, mode="share", share=1.0)
    await server.look()
    assert await server.versions(png()) == {2}
    end_canary(server.store, "tiny", "aborted")
    await server.look()
    assert await server.versions(png(), X_Candor_Canary="true") == {1}
    start_canary(server.store, "tiny", 3, mode="header")
    await server.look()
    end_canary(server.store, "tiny", "promoted")
    await server.look()
    assert await server.versions(png()) == {3}
    assert server.service.models.by_name()["tiny"].canary is None
    with pytest.raises(CanaryError, match="no canary running"):
        end_canary(server.store, "tiny", "aborted")


async def test_a_canary_whose_detector_alarms_is_aborted(
    server: Running, png: Callable[..., bytes]
) -> None:
    start_canary(server.store, "tiny", 2, mode="header")
    await server.look()
    await server.label(png(), 3)
    await server.look()
    assert await server.versions(png(), 1, X_Candor_Canary="true") == {2}
    await server.label(png(), 60)
    await server.look()
    ended = read_canary(server.store, "tiny")
    assert ended is not None
    assert (ended.ended, "detector of version 2" in (ended.reason or "")) == ("aborted", True)
    assert await server.versions(png(), 1, X_Candor_Canary="true") == {1}


async def test_a_canary_that_fails_more_than_production_is_aborted(
    server: Running, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_canary(server.store, "tiny", 2, mode="header")
    await server.look()
    trial = server.service.models.by_name()["tiny"].canary
    assert trial is not None
    monkeypatch.setattr(trial.served._predictor, "predict", lambda images: images / 0)
    for count in range(1, 6):
        answer = await server.client.post(
            "/predictions/tiny", content=png(), headers={"X-Candor-Canary": "true"}
        )
        assert (answer.status_code, answer.json()["error"]) == (500, "inference_failed")
        await server.look()
        assert (server.service.models.by_name()["tiny"].canary is None) == (count == 5)
    ended = read_canary(server.store, "tiny")
    assert ended is not None
    assert "failed 5 times" in (ended.reason or "")


async def test_an_abort_holds_where_the_store_cannot_be_written(
    server: Running, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_canary(server.store, "tiny", 2, mode="header")
    await server.look()

    def full(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Store, "replace_file", full)
    await server.label(png(), 63)
    for _ in range(2):
        await server.look()
        assert server.service.models.by_name()["tiny"].canary is None
    running = read_canary(server.store, "tiny")
    assert running is not None
    assert running.ended is None


async def test_a_canary_that_is_not_sound_never_answers(
    server: Running, png: Callable[..., bytes]
) -> None:
    start_canary(server.store, "tiny", 2, mode="share", share=1.0)
    (server.store.folder("tiny", 2) / "model.onnx").write_bytes(b"")
    await server.look()
    assert await server.versions(png()) == {1}
    ended = read_canary(server.store, "tiny")
    assert ended is not None
    assert "cannot be loaded" in (ended.reason or "")


async def test_a_shadow_computes_beside_never_answers_and_its_labels_follow(
    server: Running, png: Callable[..., bytes]
) -> None:
    start_canary(server.store, "tiny", 2, mode="shadow")
    await server.look()
    answers = [
        await server.client.post("/predictions/tiny", content=png(seed=number))
        for number in range(6)
    ]
    assert {answer.json()["version"] for answer in answers} == {1}
    assert await server.versions(png(), 1, X_Candor_Canary="true") == {1}
    assert (await server.client.post("/predictions/tiny/2", content=png())).status_code == 404
    await until(lambda: server.rows(2) == 7)  # the six and the one that asked; the 404 cost nothing
    label = {"label": "a", "prediction_id": answers[0].json()["prediction_id"]}
    names = list(answers[0].json()["probabilities"])
    sent = await server.client.post("/feedback", json=[label | {"label": names[0]}])
    assert [each["status"] for each in sent.json()] == ["accepted"]
    for version in (1, 2):
        report = (await server.client.get(f"/models/tiny/report?version={version}")).json()
        assert (report["measures"]["n"], report["coverage"]["labeled"]) == (1, 1)
    await server.client.post(
        "/feedback", json=label | {"label": names[1]}
    )  # a correction reaches both as well
    assert server.labels() == [1, 1]
    end_canary(server.store, "tiny", "promoted")
    await server.look()
    assert await server.versions(png()) == {2}


async def test_a_shadow_that_fails_or_is_busy_harms_nobody(
    server: Running, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_canary(server.store, "tiny", 2, mode="shadow")
    await server.look()
    trial = server.service.models.by_name()["tiny"].canary
    assert trial is not None
    monkeypatch.setattr(trial.served._predictor, "predict", lambda images: images / 0)
    assert await server.versions(png(), 4) == {1}
    trial.served.queue.waiting += 16
    assert await server.versions(png(), 4) == {1}
    trial.served.queue.waiting -= 16
    await until(lambda: trial.served.queue.waiting == 0)
    skipped = server.service._metrics.registry.get_sample_value(
        "candor_shadow_skipped_total", {"model": "tiny", "version": "2"}
    )
    assert skipped == 4


async def test_a_shadow_that_retires_right_after_an_answer_still_ends(server: Running) -> None:
    """Its thread ended with the version, and the image that it was given just before waited
    forever.
    """
    start_canary(server.store, "tiny", 2, mode="shadow")
    await server.look()
    trial = server.service.models.by_name()["tiny"].canary
    assert trial is not None
    shadow, runner = trial.served, server.service.pipeline._shadow
    answered = PendingRequest(
        np.zeros((3, 32, 32), np.uint8),
        None,
        0.0,
        asyncio.get_running_loop().create_future(),
        given_id=bytes(16),
    )
    runner.run(shadow, answered)
    shadow.retire()
    await until(lambda: not runner._tasks)
    await until(lambda: not shadow._batcher._thread.is_alive())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def test_what_cannot_be_tried_out_is_refused(
    tiny_store: Store, make_bundle: Callable[..., Bundle]
) -> None:
    with pytest.raises(CanaryError, match="in production already"):
        start_canary(tiny_store, "tiny", 1, mode="header")
    with pytest.raises(NotInStore):
        start_canary(tiny_store, "tiny", 9, mode="header")
    tiny_store.publish("other", partial(make_bundle, name="other"))
    with pytest.raises(CanaryError, match="no version in production"):
        start_canary(tiny_store, "other", 1, mode="header")
    (tiny_store.model("tiny") / "canary.json").write_text("{")
    with pytest.raises(CanaryError, match="cannot be read"):
        read_canary(tiny_store, "tiny")


def test_the_command_line_starts_shows_and_ends(
    tiny_store: Store, tmp_path: Path, make_bundle: Callable[..., Bundle]
) -> None:
    tiny_store.publish("tiny", partial(make_bundle, name="tiny", seed=2))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(
            command_line.app, ["canary", *arguments, "--store", str(tiny_store.root)]
        )
        assert done.exit_code == 0, done.output
        return done.stdout

    ledger = ("--ledger", f"sqlite:///{tmp_path / 'ledger.db'}")
    Ledger(ledger[1]).close()
    assert "no canary" in run("status", "tiny", *ledger)
    assert "answers 0.5 % of the requests" in run("start", "tiny", "2", "--share", "0.005")
    assert "answers 20 % of the requests" in run("start", "tiny", "2", "--share", "0.2")
    assert "version 2 is the canary and answers 20 % of the requests" in run(
        "status", "tiny", *ledger
    )
    assert "has ended" in run("abort", "tiny", "--reason", "worse")
    assert "was ended without being put into production: worse" in run("status", "tiny", *ledger)
    run("start", "tiny", "2", "--shadow")
    refused = CliRunner().invoke(
        command_line.app, ["canary", "promote", "tiny", "--store", str(tiny_store.root), *ledger]
    )
    assert isinstance(refused.exception, CanaryError)
    assert "no answer of the canary, version 2 of 'tiny', has a label" in str(refused.exception)
    assert tiny_store.production("tiny") == 1
    assert "version 2 is in production, without a label" in run(
        "promote", "tiny", "--anyway", *ledger
    )
    assert tiny_store.production("tiny") == 2
    assert re.findall(r"^(production|canary) +2 ", run("status", "tiny", *ledger), flags=re.M) == [
        "production"
    ]


def test_promoting_the_version_of_a_canary_ends_the_canary(
    tiny_store: Store, tmp_path: Path, make_bundle: Callable[..., Bundle]
) -> None:
    """Otherwise it would begin again after a rollback. That nobody compared it with the truth is
    said.
    """
    tiny_store.publish("tiny", partial(make_bundle, name="tiny", seed=2))
    ledger = ("--ledger", f"sqlite:///{tmp_path / 'ledger.db'}")
    start_canary(tiny_store, "tiny", 2, mode="header")
    told = CliRunner().invoke(
        command_line.app, ["promote", "tiny", "2", "--store", str(tiny_store.root), *ledger]
    )
    assert told.stdout == (
        "tiny: version 2 is in production. Its canary has ended without a label, so labels never "
        "compared it with "
        "production\n"
    )
    ended = read_canary(tiny_store, "tiny")
    assert ended is not None
    assert ended.ended == "promoted"
    start_canary(tiny_store, "tiny", 1, mode="header")
    told = CliRunner().invoke(
        command_line.app, ["promote", "tiny", "2", "--store", str(tiny_store.root), *ledger]
    )
    assert told.stdout == "tiny: version 2 is in production\n"
    running = read_canary(tiny_store, "tiny")
    assert running is not None
    assert running.ended is None  # of another version
