"""Following the aliases, one look at a time; the versions here answer nothing, only their numbers
matter.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_store.bundle.bundle import Bundle
from model_store.store.store import Store
from serving.deployment.loaded_models import LoadedModels
from serving.deployment.store_watcher import StoreWatcher
from serving.errors import ModelNotLoaded, ModelUnusable, NotReady, VersionNotLoaded


class Loader:
    """Loads by reading the bundle, as the server does, and remembers what it was asked for and what
    retired.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked: list[tuple[str, int]] = []
        self.retired: list[int] = []
        self.promoted: list[int] = []
        self.unusable = False

    def __call__(self, model: str, version: int) -> Any:
        self.asked.append((model, version))
        bundle = self.store.read(model, version)
        if self.unusable:
            raise ModelUnusable("the runtime does not know this operator")
        return SimpleNamespace(
            card=bundle.card,
            digest=bundle.digest,
            retire=lambda: self.retired.append(version),
            record_promotion=lambda: self.promoted.append(version),
        )


@pytest.fixture
def loader(tiny_store: Store) -> Loader:
    return Loader(tiny_store)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def watcher(tiny_store: Store, loader: Loader, loop: asyncio.AbstractEventLoop) -> StoreWatcher:
    return StoreWatcher(tiny_store, LoadedModels(), loader, loop=loop)


@pytest.fixture
def promote(tiny_store: Store, make_bundle: Callable[..., Bundle]) -> Callable[..., int]:
    """Publish the next version and promote it."""

    def publish(name: str = "tiny", seed: int = 0) -> int:
        version = tiny_store.publish(name, partial(make_bundle, name=name, seed=seed))
        tiny_store.promote(name, version)
        return version

    return publish


def test_a_store_with_nothing_in_production_is_logged_once(
    tmp_path: Path,
    make_bundle: Callable[..., Bundle],
    loop: asyncio.AbstractEventLoop,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store(tmp_path / "empty")
    watcher = StoreWatcher(store, LoadedModels(), Loader(store), loop=loop)
    with caplog.at_level(logging.WARNING):
        watcher.scan()
        store.publish("tiny", make_bundle)
        watcher.scan()
        assert [record.message for record in caplog.records] == [
            "no model is in production, so this server is not ready"
        ]
        store.promote("tiny", 1)
        watcher.scan()
    assert len(caplog.records) == 1


def models_of(watcher: StoreWatcher) -> LoadedModels:
    return watcher._models


def run_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))


def test_the_first_look_takes_up_what_is_in_production(watcher: StoreWatcher) -> None:
    watcher.scan()
    assert models_of(watcher).find("tiny").card.version == 1
    assert models_of(watcher).production("tiny") == 1


def test_a_look_at_an_unchanged_store_loads_nothing(watcher: StoreWatcher, loader: Loader) -> None:
    watcher.scan()
    watcher.scan()
    assert loader.asked == [("tiny", 1)]


def test_a_published_version_waits_for_its_promotion(
    watcher: StoreWatcher, tiny_store: Store, make_bundle: Callable[..., Bundle]
) -> None:
    tiny_store.publish("tiny", make_bundle)
    watcher.scan()
    assert models_of(watcher).production("tiny") == 1


def test_a_promoted_version_takes_over_and_the_last_one_stays_loaded(
    watcher: StoreWatcher, promote: Callable[..., int]
) -> None:
    watcher.scan()
    promote()
    watcher.scan()
    models = models_of(watcher)
    assert models.find("tiny").card.version == 2
    assert models.find("tiny", "1").card.version == 1
    assert models.find("tiny", "2").card.version == 2
    assert models.find("tiny", "2.0").card.version == 2  # as TorchServe writes it
    for unknown in ("2.00", "2.1", ".0", "2.", "2.0.0"):
        with pytest.raises(VersionNotLoaded):
            models.find("tiny", unknown)


def test_the_version_before_the_last_is_retired(
    watcher: StoreWatcher,
    promote: Callable[..., int],
    loader: Loader,
    loop: asyncio.AbstractEventLoop,
) -> None:
    watcher.scan()
    for _ in range(2):
        promote()
        watcher.scan()
    run_callbacks(loop)
    assert loader.retired == [1]
    with pytest.raises(VersionNotLoaded, match="loaded versions: 3, 2"):
        models_of(watcher).find("tiny", "1")


def test_a_rollback_loads_nothing(
    watcher: StoreWatcher,
    tiny_store: Store,
    promote: Callable[..., int],
    loader: Loader,
    loop: asyncio.AbstractEventLoop,
) -> None:
    watcher.scan()
    promote()
    watcher.scan()
    tiny_store.promote("tiny", 1)
    watcher.scan()
    run_callbacks(loop)
    assert models_of(watcher).production("tiny") == 1
    assert models_of(watcher).find("tiny", "2").card.version == 2
    assert loader.asked == [("tiny", 1), ("tiny", 2)]
    assert loader.retired == []
    assert loader.promoted == [1, 2, 1]


def test_a_model_published_later_is_taken_up(
    watcher: StoreWatcher, promote: Callable[..., int]
) -> None:
    watcher.scan()
    promote(name="other")
    watcher.scan()
    assert sorted(models_of(watcher).by_name()) == ["other", "tiny"]


def test_a_bad_bundle_is_refused_by_name_once_and_the_old_one_stays(
    watcher: StoreWatcher,
    tiny_store: Store,
    promote: Callable[..., int],
    loader: Loader,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watcher.scan()
    promote()
    (tiny_store.folder("tiny", 2) / "model.onnx").write_bytes(b"flipped")
    with caplog.at_level(logging.ERROR):
        watcher.scan()
        watcher.scan()
    assert models_of(watcher).production("tiny") == 1
    assert watcher.refused["tiny"].version == 2
    assert "model.onnx is not the file that was published" in watcher.refused["tiny"].reason
    assert loader.asked.count(("tiny", 2)) == 1
    assert len(caplog.records) == 1


def test_a_mended_bundle_is_looked_at_again(
    watcher: StoreWatcher, tiny_store: Store, promote: Callable[..., int]
) -> None:
    watcher.scan()
    promote()
    file = tiny_store.folder("tiny", 2) / "model.onnx"
    sound = file.read_bytes()
    file.write_bytes(b"flipped")
    watcher.scan()
    file.write_bytes(sound)
    watcher.scan()
    assert models_of(watcher).production("tiny") == 2
    assert watcher.refused == {}


def test_a_bundle_that_is_replaced_under_its_number_is_refused(
    watcher: StoreWatcher, tiny_store: Store, make_bundle: Callable[..., Bundle], loader: Loader
) -> None:
    """Bundle, manifest and alias fit each other, but what is loaded under this number is another
    bundle.
    """
    watcher.scan()
    digest = make_bundle(tiny_store.folder("tiny", 1), seed=3).digest
    alias = tiny_store.alias("tiny", "production")
    assert alias is not None
    forged = alias.model_copy(update={"digest": digest})
    tiny_store.storage.write("tiny", "production", forged.as_text().encode())
    watcher.scan()
    assert (
        f"it is loaded with digest {alias.digest}, but production names {digest}"
        in watcher.refused["tiny"].reason
    )
    assert loader.asked == [("tiny", 1)]
    tiny_store.storage.write("tiny", "production", alias.as_text().encode())
    watcher.scan()
    assert watcher.refused == {}


@pytest.mark.parametrize("text", ["", "2.0", "../..", "-1", "2"])
def test_an_alias_that_names_no_bundle_is_refused_and_the_last_one_stays(
    watcher: StoreWatcher, tiny_store: Store, text: str
) -> None:
    watcher.scan()
    (tiny_store.root / "tiny" / "production").write_text(text)
    watcher.scan()
    assert "alias 'production' of 'tiny' is refused" in watcher.refused["tiny"].reason
    assert models_of(watcher).production("tiny") == 1


def test_a_bundle_that_the_runtime_refuses_is_refused(
    watcher: StoreWatcher, loader: Loader
) -> None:
    loader.unusable = True
    watcher.scan()
    assert watcher.refused["tiny"].reason == "the runtime does not know this operator"


def test_going_back_to_the_good_version_forgets_the_refusal(
    watcher: StoreWatcher, tiny_store: Store, promote: Callable[..., int]
) -> None:
    watcher.scan()
    promote()
    (tiny_store.folder("tiny", 2) / "card.json").unlink()
    watcher.scan()
    assert "tiny" in watcher.refused
    tiny_store.promote("tiny", 1)
    watcher.scan()
    assert watcher.refused == {}


def test_a_vanished_alias_changes_nothing(watcher: StoreWatcher, tiny_store: Store) -> None:
    watcher.scan()
    (tiny_store.root / "tiny" / "production").unlink()
    watcher.scan()
    assert models_of(watcher).production("tiny") == 1


def test_a_store_that_cannot_be_read_is_one_line_until_that_changes(
    watcher: StoreWatcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert watcher.try_scan()
    caplog.set_level(logging.INFO)
    for _ in range(2):
        for error, looks in (
            (PermissionError(13, "Permission denied", "/store"), 3),
            (OSError(5, "I/O error"), 2),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(Store, "models", Raising(error))
                assert [watcher.try_scan() for _ in range(looks)] == [False] * looks
        assert watcher.try_scan()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"] * 2
    assert not any(record.exc_info for record in caplog.records)
    assert models_of(watcher).production("tiny") == 1


def test_a_fault_of_ours_shows_its_trace_once(
    watcher: StoreWatcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Store, "models", Raising(KeyError("bug")))
    assert [watcher.try_scan(), watcher.try_scan()] == [False, False]
    assert [bool(record.exc_info) for record in caplog.records] == [True]


class Raising:
    """A function that raises this."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, *_: object) -> Any:
        raise self._error


def test_an_empty_fleet_is_not_ready_and_a_full_one_knows_its_names(watcher: StoreWatcher) -> None:
    with pytest.raises(NotReady):
        models_of(watcher).find("tiny")
    watcher.scan()
    with pytest.raises(ModelNotLoaded, match="loaded models: tiny"):
        models_of(watcher).find("huge")


@pytest.mark.parametrize("version", ["", "0", "-1", "two", "²", "9" * 5000, "1.00"])
def test_versions_that_are_no_numbers_are_unknown(watcher: StoreWatcher, version: str) -> None:
    watcher.scan()
    with pytest.raises(VersionNotLoaded):
        models_of(watcher).find("tiny", version)


def test_a_canary_that_cannot_be_read_is_logged_once(
    watcher: StoreWatcher, tiny_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    watcher.scan()
    record = tiny_store.model("tiny") / "canary.json"
    for text in ("{", "{", "[]"):  # the same trouble twice, then another
        record.write_text(text)
        for _ in range(3):
            watcher.scan()
    record.unlink()
    watcher.scan()
    told = [entry for entry in caplog.records if entry.message == "canary refused"]
    assert 1 <= len(told) <= 2
    assert "canary.json cannot be read" in told[0].fields["reason"]  # type: ignore[attr-defined]
    assert watcher.refused == {}
