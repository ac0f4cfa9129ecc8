"""Canaries on a real service: who answers whom, and the abort by itself."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from model_store.errors import CanaryError, NotInStore
from model_store.store.canary import end_canary, read_canary, start_canary
from model_store.store.state import Canary
from model_store.store.store import Store
from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import IS_LABELED, prediction, watched_versions
from serving.deployment.loaded_models import LoadedCanary
from serving.inference.batcher import PendingRequest
from tests.builders.bundles import build_bundle, png
from tests.builders.processes import candor_here
from tests.builders.services import Running, running, until
from tests.builders.tensors import bytes_tensor

pytestmark = pytest.mark.anyio
WANTED, UNWANTED = {"X-Candor-Canary": "true"}, {"X-Candor-Canary": "false"}


def record_of(store: Store) -> Canary:
    canary = read_canary(store, "tiny")
    assert canary is not None
    return canary


@dataclass
class Trial:
    """A service on a store with versions 1 (production), 2 and 3."""

    server: Running
    store: Store
    image: bytes

    async def start(self, version: int = 2, **options: Any) -> None:
        start_canary(self.store, "tiny", version, **options)
        await self.look()

    async def end(self, how: Any) -> None:
        end_canary(self.store, "tiny", how)
        await self.look()

    async def look(self) -> None:
        """Look at the store, as the watcher does all the time."""
        await asyncio.to_thread(self.server.service.watcher.scan)
        await asyncio.sleep(0)

    @property
    def loaded(self) -> LoadedCanary | None:
        return self.server.service.models.by_name()["tiny"].canary

    def scalars(self, query: Any) -> list[Any]:
        """What the ledger answers."""
        recorder = self.server.service.recorder
        with recorder._ledger.read() as connection:
            return list(connection.scalars(query))

    async def answers(
        self, count: int, headers: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        post = partial(self.server.client.post, "/predictions/tiny", headers=headers)
        return [(await post(content=self.image)).json() for _ in range(count)]

    async def versions(self, headers: Mapping[str, str] | None = None, count: int = 8) -> set[int]:
        return {answer["version"] for answer in await self.answers(count, headers)}

    async def label(self, count: int) -> None:
        """Have the canary answer `count` times, and label each answer as wrong."""
        for given in await self.answers(count, WANTED):
            wrong = next(name for name in given["probabilities"] if name != given["predicted"])
            label = {"prediction_id": given["prediction_id"], "label": wrong}
            assert (await self.server.client.post("/feedback", json=label)).status_code == 200


@pytest.fixture
async def trial(tiny_store: Store, tmp_path: Path) -> AsyncIterator[Trial]:
    for seed in (2, 3):
        tiny_store.publish("tiny", partial(build_bundle, name="tiny", seed=seed))
    async with running(tiny_store, tmp_path) as server:
        yield Trial(server, tiny_store, png())


async def test_a_share_goes_to_the_canary_and_a_header_decides(trial: Trial) -> None:
    await trial.start(mode="share", share=0.5)
    assert await trial.versions(count=40) == {1, 2}
    assert await trial.versions(WANTED) == {2}
    assert await trial.versions(UNWANTED) == {1}
    [refused] = await trial.answers(1, {"X-Candor-Canary": "perhaps"})
    assert refused["error"] == "malformed_request"


async def test_a_retry_gets_the_answer_of_the_version_that_gave_it(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(number: int) -> Any:
        key = {"Idempotency-Key": f"scan-{number}"}
        body = {"inputs": [bytes_tensor(trial.image)]}
        infer = trial.server.client.post("/v2/models/tiny/infer", json=body, headers=key)
        return (await trial.answers(1, key))[0], (await infer).json()

    await trial.start(mode="share", share=0.5)
    first = [await ask(number) for number in range(20)]
    assert {answer["version"] for answer, _ in first} == {1, 2}
    assert [await ask(number) for number in range(20)] == first
    await trial.end("promoted")
    assert [await ask(number) for number in range(20)] == first
    assert await trial.versions({"Idempotency-Key": "another"}, count=1) == {2}
    assert trial.scalars(select(func.count()).select_from(prediction)) == [21]
    monkeypatch.setattr("serving.inference.retries.RETRY_S", 0.0)  # a key that is no retry's
    assert await trial.versions({"Idempotency-Key": "scan-0"}, count=1) == {2}


async def test_by_header_only_those_who_ask_get_it(trial: Trial) -> None:
    await trial.start(mode="header")
    assert await trial.versions() == {1}
    assert await trial.versions(WANTED) == {2}
    for wish, version in ((WANTED, "2"), (UNWANTED, "1")):
        body = {"inputs": [bytes_tensor(trial.image)]}
        asked = trial.server.client.post("/v2/models/tiny/infer", json=body, headers=wish)
        assert (await asked).json()["model_version"] == version


async def test_promoting_and_aborting_end_the_trial(trial: Trial) -> None:
    await trial.start(mode="share", share=1.0)
    assert await trial.versions() == {2}
    await trial.end("aborted")
    assert await trial.versions(WANTED) == {1}
    await trial.start(3, mode="header")
    await trial.end("promoted")
    assert await trial.versions() == {3}
    assert trial.loaded is None
    with pytest.raises(CanaryError, match="no canary running"):
        end_canary(trial.store, "tiny", "aborted")


async def test_a_canary_whose_detector_alarms_is_aborted(trial: Trial) -> None:
    await trial.start(mode="header")
    await trial.label(3)
    await trial.look()
    assert await trial.versions(WANTED, 1) == {2}
    await trial.label(60)
    await trial.look()
    assert (record_of(trial.store).ended, trial.loaded) == ("aborted", None)
    assert "detector of version 2" in (record_of(trial.store).reason or "")


async def test_an_abort_does_not_end_a_canary_that_was_started_meanwhile(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trial.start(2, mode="header")

    def alarmed(_: int) -> bool:
        start_canary(trial.store, "tiny", 3, mode="header")
        return True

    monkeypatch.setattr(trial.server.service.watcher._canaries, "_alarmed", alarmed)
    await trial.look()
    assert (record_of(trial.store).version, record_of(trial.store).ended) == (3, None)


async def test_an_abort_holds_where_the_store_cannot_be_written(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trial.start(mode="header")

    def full(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(type(trial.store.storage), "write", full)
    await trial.label(63)
    for _ in range(2):
        await trial.look()
        assert trial.loaded is None
    assert record_of(trial.store).ended is None


async def test_a_canary_that_fails_more_than_production_is_aborted(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trial.start(mode="header")
    monkeypatch.setattr(trial.loaded.served._predictor, "infer", lambda images, **_: images / 0)
    for count in range(1, 6):
        [answer] = await trial.answers(1, WANTED)
        assert answer["error"] == "inference_failed"
        await trial.look()
        assert (trial.loaded is None) == (count == 5)
    assert "failed 5 times" in (record_of(trial.store).reason or "")


async def test_a_canary_that_is_not_sound_never_answers(trial: Trial) -> None:
    start_canary(trial.store, "tiny", 2, mode="share", share=1.0)
    (trial.store.folder("tiny", 2) / "model.onnx").write_bytes(b"")
    await trial.look()
    assert await trial.versions() == {1}
    assert "cannot be loaded" in (record_of(trial.store).reason or "")


async def test_a_shadow_computes_beside_never_answers_and_its_labels_follow(trial: Trial) -> None:
    rows = (
        select(func.count())
        .select_from(prediction)
        .join(
            watched_versions,
            prediction.c.watched_version_id == watched_versions.c.watched_version_id,
        )
        .where(watched_versions.c.version == 2)
    )
    client = trial.server.client
    await trial.start(mode="shadow")
    answers = await trial.answers(6)
    assert {answer["version"] for answer in answers} == {1}
    assert await trial.versions(WANTED, 1) == {1}
    assert (await trial.server.predict(trial.image, "/predictions/tiny/2")).status_code == 404
    await until(lambda: trial.scalars(rows) == [7])  # the six and the one that asked
    names = list(answers[0]["probabilities"])
    label = {"prediction_id": answers[0]["prediction_id"], "label": names[0]}
    sent = await client.post("/feedback", json=[label])
    assert [each["status"] for each in sent.json()] == ["accepted"]
    for version in (1, 2):
        report = (await client.get(f"/models/tiny/report?version={version}")).json()
        assert (report["measures"]["n"], report["coverage"]["labeled"]) == (1, 1)
    await client.post("/feedback", json=label | {"label": names[1]})  # a correction reaches both
    assert trial.scalars(select(prediction.c.label).where(IS_LABELED)) == [1, 1]
    await trial.end("promoted")
    assert await trial.versions() == {2}


async def test_a_shadow_that_fails_or_is_busy_harms_nobody(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trial.start(mode="shadow")
    shadow = trial.loaded.served
    monkeypatch.setattr(shadow._predictor, "infer", lambda images, **_: images / 0)
    assert await trial.versions(count=4) == {1}
    shadow.load.waiting += 16
    assert await trial.versions(count=4) == {1}
    shadow.load.waiting -= 16
    await until(lambda: shadow.load.waiting == 0)
    labels = {"model": "tiny", "version": "2"}
    assert trial.server.counted("candor_shadow_skipped_total", **labels) == 4


async def test_a_shadow_that_retires_right_after_an_answer_still_ends(trial: Trial) -> None:
    """Its thread ended with the version, and its last image waited forever."""
    await trial.start(mode="shadow")
    shadow, runner = trial.loaded.served, trial.server.service.pipeline._shadow
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    image = np.zeros((3, 32, 32), np.uint8)
    runner.run(shadow, PendingRequest(image, None, 0.0, done, given_id=bytes(16)))
    shadow.retire()
    await until(lambda: not runner._tasks)
    await until(lambda: not shadow._batcher._thread.is_alive())


def test_what_cannot_be_tried_out_is_refused(tiny_store: Store) -> None:
    tiny_store.publish("other", partial(build_bundle, name="other"))
    for model, version, error, words in (
        ("tiny", 1, CanaryError, "in production already"),
        ("tiny", 9, NotInStore, None),
        ("other", 1, CanaryError, "no version in production"),
    ):
        with pytest.raises(error, match=words):
            start_canary(tiny_store, model, version, mode="header")


@pytest.fixture
def run(tiny_store: Store, tmp_path: Path) -> Callable[..., str]:
    """Runs a command on a store with two versions; raises what it raises."""
    tiny_store.publish("tiny", partial(build_bundle, name="tiny", seed=2))
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    Ledger(ledger).close()

    def invoke(*arguments: str, ledger: str | None = ledger) -> str:
        options = ["--store", str(tiny_store.root), *(["--ledger", ledger] if ledger else [])]
        done = candor_here(*arguments, *options)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return invoke


def test_the_command_line_starts_shows_and_ends(run: Callable[..., str], tiny_store: Store) -> None:
    assert "no canary" in run("canary", "status", "tiny")
    for share, percent in (("0.005", "0.5 %"), ("0.2", "20 %")):
        told = run("canary", "start", "tiny", "2", "--share", share, ledger=None)
        assert f"answers {percent} of the requests" in told
    assert "answers 20 % of the requests" in run("canary", "status", "tiny")
    run("canary", "abort", "tiny", "--reason", "worse", ledger=None)
    assert "worse" in run("canary", "status", "tiny")
    run("canary", "start", "tiny", "2", "--shadow", ledger=None)
    with pytest.raises(CanaryError, match="has a label"):
        run("canary", "promote", "tiny")
    assert tiny_store.production("tiny") == 1
    run("canary", "promote", "tiny", "--anyway")
    assert tiny_store.production("tiny") == 2
    roles = re.findall(r"^(production|canary) +2 ", run("canary", "status", "tiny"), re.MULTILINE)
    assert roles == ["production"]
