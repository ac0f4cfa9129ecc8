"""Following the aliases, one look at a time; the versions here answer nothing, only their numbers matter."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from model_store.bundle import Bundle
from model_store.store import Store
from serving.deployment.loaded_models import Fleet
from serving.deployment.store_watcher import Switch
from serving.errors import ModelUnusable, NotReady, UnknownModel, UnknownVersion


class Loader:
    """Loads by reading the bundle, as the server does, and remembers what it was asked for and what retired."""

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
            retire=lambda: self.retired.append(version),
            note_production=lambda: self.promoted.append(version),
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
def switch(tiny_store: Store, loader: Loader, loop: asyncio.AbstractEventLoop) -> Switch:
    return Switch(tiny_store, Fleet(), loader, loop=loop)


@pytest.fixture
def promote(tiny_store: Store, make_bundle: Callable[..., Bundle]) -> Callable[..., int]:
    """Publish the next version and promote it."""

    def publish(name: str = "tiny", seed: int = 0) -> int:
        version = tiny_store.publish(name, partial(make_bundle, name=name, seed=seed))
        tiny_store.promote(name, version)
        return version

    return publish


def fleet_of(switch: Switch) -> Fleet:
    return switch._fleet


def run_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))


def test_the_first_look_takes_up_what_is_in_production(switch: Switch) -> None:
    switch.scan()
    assert fleet_of(switch).find("tiny").card.version == 1
    assert fleet_of(switch).production("tiny") == 1


def test_a_look_at_an_unchanged_store_loads_nothing(switch: Switch, loader: Loader) -> None:
    switch.scan()
    switch.scan()
    assert loader.asked == [("tiny", 1)]


def test_a_published_version_waits_for_its_promotion(
    switch: Switch, tiny_store: Store, make_bundle: Callable[..., Bundle]
) -> None:
    tiny_store.publish("tiny", make_bundle)
    switch.scan()
    assert fleet_of(switch).production("tiny") == 1


def test_a_promoted_version_takes_over_and_the_last_one_stays_loaded(
    switch: Switch, promote: Callable[..., int]
) -> None:
    switch.scan()
    promote()
    switch.scan()
    fleet = fleet_of(switch)
    assert fleet.find("tiny").card.version == 2
    assert fleet.find("tiny", "1").card.version == 1
    assert fleet.find("tiny", "2").card.version == 2


def test_the_version_before_the_last_is_retired(
    switch: Switch, promote: Callable[..., int], loader: Loader, loop: asyncio.AbstractEventLoop
) -> None:
    switch.scan()
    for _ in range(2):
        promote()
        switch.scan()
    run_callbacks(loop)
    assert loader.retired == [1]
    with pytest.raises(UnknownVersion, match="loaded versions: 3, 2"):
        fleet_of(switch).find("tiny", "1")


def test_a_rollback_loads_nothing(
    switch: Switch,
    tiny_store: Store,
    promote: Callable[..., int],
    loader: Loader,
    loop: asyncio.AbstractEventLoop,
) -> None:
    switch.scan()
    promote()
    switch.scan()
    tiny_store.promote("tiny", 1)
    switch.scan()
    run_callbacks(loop)
    assert fleet_of(switch).production("tiny") == 1
    assert fleet_of(switch).find("tiny", "2").card.version == 2
    assert loader.asked == [("tiny", 1), ("tiny", 2)]
    assert loader.retired == []
    assert loader.promoted == [1, 2, 1]


def test_a_model_published_later_is_taken_up(switch: Switch, promote: Callable[..., int]) -> None:
    switch.scan()
    promote(name="other")
    switch.scan()
    assert sorted(fleet_of(switch).slots()) == ["other", "tiny"]


def test_a_bad_bundle_is_refused_by_name_once_and_the_old_one_stays(
    switch: Switch,
    tiny_store: Store,
    promote: Callable[..., int],
    loader: Loader,
    caplog: pytest.LogCaptureFixture,
) -> None:
    switch.scan()
    promote()
    (tiny_store.folder("tiny", 2) / "model.onnx").write_bytes(b"flipped")
    with caplog.at_level(logging.ERROR):
        switch.scan()
        switch.scan()
    assert fleet_of(switch).production("tiny") == 1
    assert switch.refused["tiny"].version == 2
    assert "model.onnx is not the file that was published" in switch.refused["tiny"].reason
    assert loader.asked.count(("tiny", 2)) == 1
    assert len(caplog.records) == 1


def test_a_mended_bundle_is_looked_at_again(switch: Switch, tiny_store: Store, promote: Callable[..., int]) -> None:
    switch.scan()
    promote()
    file = tiny_store.folder("tiny", 2) / "model.onnx"
    sound = file.read_bytes()
    file.write_bytes(b"flipped")
    switch.scan()
    file.write_bytes(sound)
    switch.scan()
    assert fleet_of(switch).production("tiny") == 2
    assert switch.refused == {}


def test_a_bundle_that_the_runtime_refuses_is_refused(switch: Switch, loader: Loader) -> None:
    loader.unusable = True
    switch.scan()
    assert switch.refused["tiny"].reason == "the runtime does not know this operator"


def test_going_back_to_the_good_version_forgets_the_refusal(
    switch: Switch, tiny_store: Store, promote: Callable[..., int]
) -> None:
    switch.scan()
    promote()
    (tiny_store.folder("tiny", 2) / "card.json").unlink()
    switch.scan()
    assert "tiny" in switch.refused
    tiny_store.promote("tiny", 1)
    switch.scan()
    assert switch.refused == {}


def test_a_vanished_alias_changes_nothing(switch: Switch, tiny_store: Store) -> None:
    switch.scan()
    (tiny_store.root / "tiny" / "production").unlink()
    switch.scan()
    assert fleet_of(switch).production("tiny") == 1


def test_a_store_that_cannot_be_read_is_one_line_until_that_changes(
    switch: Switch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert switch.look()
    caplog.set_level(logging.INFO)
    for _ in range(2):
        for error, looks in ((PermissionError(13, "Permission denied", "/store"), 3), (OSError(5, "I/O error"), 2)):
            with monkeypatch.context() as patch:
                patch.setattr(Store, "models", Raising(error))
                assert [switch.look() for _ in range(looks)] == [False] * looks
        assert switch.look()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"] * 2
    assert not any(record.exc_info for record in caplog.records)
    assert fleet_of(switch).production("tiny") == 1


def test_a_fault_of_ours_shows_its_trace_once(
    switch: Switch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Store, "models", Raising(KeyError("bug")))
    assert [switch.look(), switch.look()] == [False, False]
    assert [bool(record.exc_info) for record in caplog.records] == [True]


class Raising:
    """A function that raises this."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, *_: object) -> Any:
        raise self._error


def test_an_empty_fleet_is_not_ready_and_a_full_one_knows_its_names(switch: Switch) -> None:
    with pytest.raises(NotReady):
        fleet_of(switch).find("tiny")
    switch.scan()
    with pytest.raises(UnknownModel, match="loaded models: tiny"):
        fleet_of(switch).find("huge")


@pytest.mark.parametrize("version", ["", "0", "-1", "two", "²", "9" * 5000, "1.0"])
def test_versions_that_are_no_numbers_are_unknown(switch: Switch, version: str) -> None:
    switch.scan()
    with pytest.raises(UnknownVersion):
        fleet_of(switch).find("tiny", version)
