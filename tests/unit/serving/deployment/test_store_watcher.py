"""Following the aliases, look by look; only the numbers of versions matter."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from hosting.errors import ModelNotLoaded, ModelUnusable, NotReady, VersionNotLoaded
from model_store.store.store import Store
from serving.deployment.loaded_models import LoadedModels
from serving.deployment.store_watcher import StoreWatcher
from serving.inference.metrics import ServingMetrics
from serving.inference.prediction import ScopePolicy
from tests.builders.bundles import build_bundle


@dataclass
class Scene:
    """A watcher of a store; it notes what was loaded, promoted and retired."""

    store: Store
    loop: asyncio.AbstractEventLoop
    models: LoadedModels = field(default_factory=LoadedModels)
    loaded: list[tuple[str, int]] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)
    retired: list[int] = field(default_factory=list)
    unusable: bool = False
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.watcher = StoreWatcher(
            self.store,
            self.models,
            self._load,
            loop=self.loop,
            metrics=ServingMetrics(self.registry),
        )

    def _load(self, model: str, version: int) -> Any:
        self.loaded.append((model, version))
        bundle = self.store.read(model, version)
        if self.unusable:
            raise ModelUnusable("the runtime does not know this operator")
        return SimpleNamespace(
            stopped=None,
            card=bundle.card,
            digest=bundle.digest,
            scope=ScopePolicy(),
            retire=lambda: self.retired.append(version),
            record_promotion=lambda: self.promoted.append(version),
        )

    def publish(self, name: str = "tiny") -> int:
        return self.store.publish(name, partial(build_bundle, name=name))

    def promote(self, name: str = "tiny", *, look: bool = True) -> None:
        """Publish the next version and promote it."""
        self.store.promote(name, self.publish(name))
        if look:
            self.look()

    def look(self) -> None:
        self.watcher.scan()
        self.loop.run_until_complete(asyncio.sleep(0))

    @property
    def production(self) -> int | None:
        return self.models.production("tiny")

    @property
    def roles(self) -> tuple[float | None, ...]:
        """The wanted, the served and the refused version, as Prometheus reads them."""
        names = ("wanted", "served", "refused")
        at = {"model": "tiny"}
        return tuple(
            self.registry.get_sample_value(f"candor_model_{name}_version", at) for name in names
        )

    @property
    def refusal(self) -> str:
        return self.watcher.refused["tiny"].reason


@pytest.fixture
def scene(tiny_store: Store) -> Iterator[Scene]:
    """What is seen after the first look at a store with version 1 of `tiny` in production."""
    loop = asyncio.new_event_loop()
    seen = Scene(tiny_store, loop)
    with pytest.raises(NotReady):
        seen.models.find("tiny")
    seen.look()
    yield seen
    loop.close()


def test_what_is_in_production_is_loaded_once(scene: Scene) -> None:
    scene.look()
    scene.publish()  # which waits for its promotion
    scene.look()
    assert (scene.production, scene.loaded) == (1, [("tiny", 1)])
    with pytest.raises(ModelNotLoaded, match="loaded models: tiny"):
        scene.models.find("huge")
    scene.promote("other")
    assert sorted(scene.models.by_name()) == ["other", "tiny"]


def test_the_last_version_stays_loaded_and_the_one_before_it_retires(scene: Scene) -> None:
    scene.promote()
    found = [scene.models.find("tiny", name).card.version for name in (None, "1", "2", "2.0")]
    assert found == [2, 1, 2, 2]  # TorchServe writes 2.0
    assert scene.retired == []
    scene.promote()
    assert scene.retired == [1]
    with pytest.raises(VersionNotLoaded, match="loaded versions: 3, 2"):
        scene.models.find("tiny", "1")


@pytest.mark.parametrize(
    "version", ["", "0", "-1", "two", "²", "9" * 5000, "1.00", "1.1", ".0", "1.", "1.0.0"]
)
def test_versions_that_are_no_numbers_are_unknown(scene: Scene, version: str) -> None:
    with pytest.raises(VersionNotLoaded):
        scene.models.find("tiny", version)


def test_a_rollback_loads_nothing(scene: Scene) -> None:
    scene.promote()
    scene.store.promote("tiny", 1)
    scene.look()
    assert scene.production == 1
    assert scene.models.find("tiny", "2").card.version == 2
    assert scene.loaded == [("tiny", 1), ("tiny", 2)]
    assert (scene.retired, scene.promoted) == ([], [1, 2, 1])


def test_a_bad_bundle_is_refused_once_until_it_is_mended(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.promote(look=False)
    file = scene.store.folder("tiny", 2) / "model.onnx"
    sound = file.read_bytes()
    file.write_bytes(b"flipped")
    with caplog.at_level(logging.ERROR):
        scene.look()
        scene.look()
    assert scene.roles == (2, 1, 2)
    assert (scene.production, scene.watcher.refused["tiny"].version) == (1, 2)
    assert "model.onnx" in scene.refusal
    assert (scene.loaded.count(("tiny", 2)), len(caplog.records)) == (1, 1)
    file.write_bytes(sound)
    scene.look()
    assert (scene.production, scene.watcher.refused) == (2, {})
    assert scene.roles == (2, 2, 0)


def test_going_back_to_the_good_version_forgets_the_refusal(scene: Scene) -> None:
    scene.promote(look=False)
    (scene.store.folder("tiny", 2) / "card.json").unlink()
    scene.look()
    assert "tiny" in scene.watcher.refused
    scene.store.promote("tiny", 1)
    scene.look()
    assert scene.watcher.refused == {}


def test_a_bundle_that_the_runtime_refuses_is_refused(scene: Scene) -> None:
    scene.unusable = True
    scene.promote()
    assert scene.refusal == "the runtime does not know this operator"


def test_a_bundle_that_is_replaced_under_its_number_is_refused(scene: Scene) -> None:
    """Bundle, manifest and history fit; what is loaded under the number is another."""
    alias = scene.store.alias("tiny", "production")
    history = scene.store.model("tiny") / "history.jsonl"
    before = history.read_bytes()
    digest = build_bundle(scene.store.folder("tiny", 1), seed=3).digest
    history.unlink()
    scene.store.promote("tiny", 1)
    scene.look()
    assert alias.digest in scene.refusal
    assert digest in scene.refusal
    assert scene.loaded == [("tiny", 1)]
    history.write_bytes(before)
    scene.look()
    assert scene.watcher.refused == {}


@pytest.mark.parametrize("text", ["", "2.0", "../..", "-1", "2", "{}", None])
def test_a_history_that_names_no_bundle_changes_nothing(scene: Scene, text: str | None) -> None:
    history = scene.store.root / "tiny" / "history.jsonl"
    if text is None:
        history.unlink()
    else:
        history.write_text(text)
    scene.look()
    assert "tiny" in scene.watcher.refused
    assert str(scene.roles[0]) == ("nan" if text else "0.0")
    assert scene.production == 1


def test_a_store_that_cannot_be_read_is_one_line_until_that_changes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    errors = (PermissionError(13, "Permission denied", "/store"), OSError(5, "I/O error"))
    for _ in range(2):
        for error in errors:
            with monkeypatch.context() as patch:
                patch.setattr(Store, "models", raising(error))
                assert [scene.watcher.try_scan() for _ in range(3)] == [False] * 3
        assert scene.watcher.try_scan()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"] * 2
    assert not any(record.exc_info for record in caplog.records)
    assert scene.production == 1


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def test_a_store_with_nothing_in_production_is_logged_once(
    scene: Scene, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    empty = Scene(Store(tmp_path / "empty"), scene.loop)
    with caplog.at_level(logging.WARNING):
        empty.look()
        empty.publish()
        empty.look()
        assert len(caplog.records) == 1
        empty.store.promote("tiny", 1)
        empty.look()
    assert len(caplog.records) == 1


def test_an_alias_that_was_removed_is_one_line_until_there_is_one_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    (scene.store.root / "tiny" / "history.jsonl").unlink()
    for _ in range(3):
        scene.look()
    assert scene.production == 1
    assert "no longer says which version of tiny is in production" in scene.refusal
    assert len([each for each in caplog.records if each.levelno >= logging.ERROR]) == 1
    scene.promote()
    assert scene.watcher.refused == {}
