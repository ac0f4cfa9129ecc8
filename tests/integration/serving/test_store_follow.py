"""A server follows its store: what it loads, keeps, retires and refuses, and what it says of it."""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import candor
from hosting.errors import ProbesDiffer
from hosting.settings import Settings
from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import InputReference
from model_store.image import decode
from model_store.image.brightness import brightness
from model_store.image.training_digests import TrainingDigests
from model_store.runtime import open_session
from model_store.store.canary import read_canary, start_canary
from model_store.store.store import Store, open_store
from monitoring.ledger.database import Ledger
from monitoring.ledger.sums import read_inputs
from monitoring.ledger.versions import choose
from serving.trials.tried_image import SEEN
from tests.builders.bundles import build_bundle, png
from tests.builders.object_store import object_store
from tests.builders.processes import PATIENCE_S, candor_here
from tests.builders.services import PAGE, Running, refusal, running

pytestmark = pytest.mark.anyio


async def look(server: Running) -> None:
    """Look at the store, as the watcher does all the time."""
    await asyncio.to_thread(server.service.watcher.scan)
    await asyncio.sleep(0)


async def promote(server: Running, store: Store, **options: Any) -> None:
    """Publish the next version, promote it and look."""
    store.promote("tiny", store.publish("tiny", partial(build_bundle, **options)))
    await look(server)


async def status(server: Running, version: object) -> int:
    return (await server.predict(png(), f"/predictions/tiny/{version}")).status_code


async def version(server: Running) -> int:
    return int((await server.predict(png())).json()["version"])


async def refused(server: Running) -> Any:
    """The version of tiny that the server refuses, and why; the same in both places."""
    ready, models = [
        (await server.client.get(path)).json()["refused"].get("tiny")
        for path in ("/readyz", "/models")
    ]
    assert ready == models
    return ready


def roles(server: Running) -> list[float]:
    names = ("wanted", "served", "refused")
    return [server.counted(f"candor_model_{name}_version", model="tiny") for name in names]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


async def test_the_last_version_stays_loaded_and_the_one_before_it_retires(
    server: Running, store: Store
) -> None:
    store.publish("tiny", build_bundle)  # which waits for its promotion
    await look(server)
    assert await version(server) == 1
    store.promote("tiny", 2)
    await look(server)
    assert [await status(server, number) for number in (1, 2, "2.0")] == [200] * 3  # TorchServe's
    store.promote("tiny", 1)  # a rollback
    await look(server)
    assert (await version(server), await status(server, 2)) == (1, 200)
    await promote(server, store)
    await promote(server, store)
    assert [await status(server, number) for number in (1, 2, 3, 4)] == [404, 404, 200, 200]
    assert server.counted("candor_model_loaded", model="tiny", version="1") == 0
    for odd in ("0", "-1", "two", "9" * 500, "4.00", "4.1", ".0", "4.", "4.0.0"):
        assert await status(server, odd) == 404, odd


def spoil_card(store: Store) -> Callable[[], object]:
    """What mends it again."""
    file = store.folder("tiny", 2) / "card.json"
    sound = file.read_bytes()
    file.write_text("{}")
    return lambda: file.write_bytes(sound)


def go_back(store: Store) -> Callable[[], object]:
    (store.folder("tiny", 2) / "card.json").unlink()
    return lambda: store.promote("tiny", 1)


@pytest.mark.parametrize(("spoil", "after"), [(spoil_card, 2), (go_back, 1)])
async def test_a_bad_bundle_is_named_while_the_old_one_answers_until_that_is_mended(
    server: Running,
    store: Store,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Store], Callable[[], object]],
    after: int,
) -> None:
    store.promote("tiny", store.publish("tiny", build_bundle))
    mend = spoil(store)
    await look(server)
    await look(server)
    found = await refused(server)
    assert (found["version"], "card.json" in found["reason"]) == (2, True)
    assert (await version(server), roles(server), len(errors(caplog))) == (1, [2, 1, 2], 1)
    mend()
    await look(server)
    assert (await version(server), roles(server)) == (after, [after, after, 0])
    assert await refused(server) is None


@pytest.mark.parametrize("text", ["", "2.0", "../..", "-1", "2", "{}", None])
async def test_a_history_that_names_no_bundle_changes_nothing_and_is_one_line(
    server: Running, store: Store, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    history = store.root / "tiny" / "history.jsonl"
    if text is None:
        history.unlink()
    else:
        history.write_text(text)
    for _ in range(3):
        await look(server)
    assert (await refused(server))["reason"]
    assert str(roles(server)[0]) == ("nan" if text else "0.0")
    assert (await version(server), len(errors(caplog))) == (1, 1)
    if text is None:
        await promote(server, store)
        assert await refused(server) is None


async def test_a_store_that_cannot_be_read_is_one_line_until_that_changes(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="serving.deployment")
    watcher = server.service.watcher
    for _ in range(2):
        for error in (PermissionError(13, "Permission denied", "/store"), OSError(5, "I/O error")):

            def fail(*_: object, error: OSError = error) -> None:
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(Store, "models", fail)
                assert [watcher.try_scan() for _ in range(3)] == [False] * 3
        assert watcher.try_scan()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"] * 2
    assert not any(record.exc_info for record in caplog.records)
    assert await version(server) == 1


async def test_an_empty_store_lives_is_not_ready_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path / "nothing")
    async with running(store, tmp_path) as server:
        assert (await server.client.get("/healthz")).status_code == 200
        assert (await server.client.get("/readyz")).status_code == 503
        assert refusal(await server.predict(png())) == (503, "not_ready")
        store.publish("tiny", build_bundle)
        await look(server)
        assert caplog.text.count("no model is in production") == 1
        store.promote("tiny", 1)
        await look(server)
        assert await version(server) == 1
    assert caplog.text.count("no model is in production") == 1


async def test_a_store_that_is_gone_shows_and_what_is_loaded_answers(
    server: Running, store: Store
) -> None:
    scan = "candor_store_scan_timestamp_seconds"
    before_s = server.counted(scan)
    assert 0 <= time.time() - before_s < PATIENCE_S
    shutil.rmtree(store.root)
    await look(server)
    assert (roles(server), server.counted(scan)) == ([0, 1, 0], before_s)
    assert (await server.client.get("/readyz")).status_code == 200


def replace_production(store: Store) -> None:
    """Put another bundle under the number in production, with manifest and history that fit it."""
    build_bundle(store.folder("tiny", 1), seed=7)
    (store.model("tiny") / "history.jsonl").unlink()
    store.promote("tiny", 1, by="an attacker")


async def test_a_bundle_that_is_replaced_under_its_number_is_refused(
    store: Store, tmp_path: Path
) -> None:
    history = store.model("tiny") / "history.jsonl"
    before, digest = history.read_bytes(), store.read("tiny").digest
    async with running(store, tmp_path) as server:
        answer = (await server.predict(png())).json()["probabilities"]
        replace_production(store)
        await look(server)
        assert "A version never changes" in (await refused(server))["reason"]
        assert (await server.predict(png())).json()["probabilities"] == answer
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.read() as connection:
        assert choose(connection, "tiny").bundle_digest == digest
    async with running(store, tmp_path) as server:  # at a start, the ledger knows better
        assert (await server.client.get("/readyz")).status_code == 503
        assert "came from a bundle with digest" in (await refused(server))["reason"]
        build_bundle(store.folder("tiny", 1))
        history.write_bytes(before)
        await look(server)
        assert await refused(server) is None
    replace_production(store)
    async with running(store, tmp_path, ledger="off") as server:  # nobody there to know
        assert (await server.client.get("/readyz")).status_code == 200


async def test_a_canary_that_was_replaced_is_aborted(store: Store, tmp_path: Path) -> None:
    store.publish("tiny", build_bundle)
    start_canary(store, "tiny", 2, mode="header")
    build_bundle(store.folder("tiny", 2), 2, seed=9)
    async with running(store, tmp_path):
        canary = read_canary(store, "tiny")
    assert canary.ended == "aborted"
    assert "but the history (published) names sha256:" in str(canary.reason)


@pytest.fixture
def other_machine(tiny_store: Store) -> Store:
    """A store whose version 2 in production was published where it computes otherwise by .1."""
    tiny_store.publish("tiny", partial(build_bundle, off_by=0.1))
    tiny_store.promote("tiny", 2)
    return tiny_store


async def test_a_bundle_whose_probes_are_answered_otherwise_here_is_refused(
    store: Store, tmp_path: Path
) -> None:
    async with running(store, tmp_path) as server:
        assert server.counted("candor_probe_difference", model="tiny", version="1") < 1e-5
        await promote(server, store, off_by=0.1)
        assert (await refused(server))["version"] == 2
        assert await version(server) == 1
    async with running(store, tmp_path) as server:
        assert (await server.client.get("/readyz")).status_code == 503
        assert "differ by 0.1" in (await refused(server))["reason"]
        assert (await server.predict(png())).status_code == 503
        difference = server.counted("candor_probe_difference", model="tiny", version="2")
        assert difference == pytest.approx(0.1, abs=1e-4)
        assert "differ by 0.1" in await server.page("/versions/tiny")
    async with running(store, tmp_path, on_difference="warn") as server:
        assert await version(server) == 2
        ready = (await server.client.get("/readyz")).json()
        assert ("differ by 0.1" in ready["doubts"]["tiny"], ready["refused"]) == (True, {})


def test_python_and_commands_refuse_other_probes_too(
    other_machine: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact sums of integers are tried first."""
    tried, plain = [], open_session
    monkeypatch.setattr(
        "serving.inference.predictor.open_session",
        lambda *given, exact: tried.append(exact) or plain(*given, exact=exact),
    )
    assert candor.open_predictor(other_machine.read("tiny", 1)).doubt is None
    assert set(tried) == {False}
    bundle = other_machine.read("tiny", 2)
    with pytest.raises(ProbesDiffer) as told:
        candor.open_predictor(bundle)
    assert told.value.difference == pytest.approx(0.1, abs=1e-4)
    assert candor.open_predictor(bundle, on_difference="warn").doubt is not None
    assert tried[-1]
    variables = {"CANDOR_STORE": str(other_machine.root), "CANDOR_LEDGER": "off", "COLUMNS": "500"}
    for command in (["models", "verify", "tiny"], ["doctor"]):
        done = candor_here(*command, env=variables)
        assert (done.exit_code, "differ by 0.1" in done.output) == (1, True)


@pytest.mark.parametrize("trained_on", [None, 0, 10])
async def test_brightness_and_images_seen_in_training_are_counted_where_the_card_has_a_reference(
    tmp_path: Path, trained_on: int | None
) -> None:
    bundle = build_bundle(tmp_path / "bundle", name="tiny")
    reference = InputReference(mean=120, mean_sd=20, contrast=40, contrast_sd=10, n=500)
    changed = {"input_reference": None if trained_on is None else reference, "files": {}}
    card = bundle.card.model_copy(update=changed)
    images = [png(seed) for seed in range(30)]
    decoded = [decode(each, card.input.spec) for each in images]
    known = TrainingDigests.of(decoded[: trained_on or 0], key=bytes(16))

    def write(folder: Path, _: int) -> None:
        write_bundle(folder, card=card, onnx=bundle.onnx, trained_on=known)

    store = Store(tmp_path / "store")
    store.promote("tiny", store.publish("tiny", write))
    async with running(store, tmp_path) as server:
        for image in images:
            answer = (await server.predict(image)).json()
            label = {"prediction_id": answer["prediction_id"], "label": answer["predicted"]}
            assert (await server.client.post("/feedback", json=label)).status_code == 200
        trial = await server.client.post("/try/tiny", files={"file": images[0]}, headers=PAGE)
        report = (await server.client.get("/models/tiny/report")).json()
        page = await server.page("/models/tiny/report/page")
        counted = server.counted("candor_training_images_total", model="tiny", version="1")
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger, ledger.read() as connection:
        sums = read_inputs(connection, 1)
    if trained_on is None:
        assert (sums.n, counted) == (0, 0)
        return
    shine = [brightness(each[None])[0].tolist() for each in decoded]
    means = [pytest.approx(sum(each) / 30, abs=1e-4) for each in zip(*shine, strict=True)]
    assert (sums.n, [sums.mean, sums.contrast]) == (30, means)
    signs = {each["name"]: each for each in report["diagnosis"]["early_signs"]}
    assert ((SEEN in trial.text), counted) == (trained_on > 0, trained_on)
    assert signs["training_images"]["value"] == pytest.approx(trained_on / 30)
    assert signs["training_images"]["raised"] == (trained_on > 0)
    reasons = report["diagnosis"]["reasons"]
    assert ("trained_on" in reasons, "input_changed" in reasons) == (trained_on > 0, False)
    assert ("own training data" in page) == (trained_on > 0)


async def test_a_server_on_s3_follows_and_starts_while_s3_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
            assert await version(server) == 1
            store.promote("tiny", 2)
            await asyncio.sleep(0.6)  # a listing is used for half a second
            await look(server)
            assert await version(server) == 2
            explained = await server.predict(png(), "/predictions/tiny?explain=occlusion")
            assert explained.status_code == 200
    async with running(Store(cache, address), tmp_path) as server:
        assert await version(server) == 2
        assert (await server.client.get("/readyz")).status_code == 200
    assert (Settings().scan_s, Settings(store="s3://bucket/models").scan_s) == (0.5, 5.0)
