"""Changes to a canary that somebody else changes at the same time."""

from typing import Any

import pytest

from model_store.errors import CanaryError
from model_store.store import changes
from model_store.store.canary import (
    change_canary,
    end_canary,
    promote_version,
    read_canary,
    running_canary,
    start_canary,
)
from model_store.store.storage import LocalStorage
from model_store.store.store import Store
from tests.builders.bundles import build_bundle


@pytest.fixture
def store(tiny_store: Store) -> Store:
    for _ in range(2):
        tiny_store.publish("tiny", build_bundle)
    return tiny_store


def test_a_canary_that_ends_while_it_is_changed_does_not_run_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_canary(store, "tiny", 2, mode="header")
    swap = LocalStorage.swap

    def late(*arguments: Any) -> bool:
        monkeypatch.setattr(LocalStorage, "swap", swap)
        end_canary(store, "tiny", "aborted")
        return swap(*arguments)

    monkeypatch.setattr(LocalStorage, "swap", late)
    with pytest.raises(CanaryError):
        change_canary(store, "tiny", mode="share", share=0.5)
    assert running_canary(store, "tiny") is None


@pytest.mark.parametrize("way", ["end", "promote", "store", "rollback"])
def test_however_its_version_gets_into_production_it_has_ended(store: Store, way: str) -> None:
    """Otherwise it would begin again after a rollback."""
    if way == "rollback":
        for version in (2, 3):
            store.promote("tiny", version)
    started = start_canary(store, "tiny", 2, mode="share", share=0.25)
    assert running_canary(store, "tiny") == started
    changed = change_canary(store, "tiny", mode="shadow")
    assert (changed.mode, changed.share, changed.started_at) == ("shadow", 0.0, started.started_at)
    if way == "end":
        assert end_canary(store, "tiny", "promoted", reason="good").reason == "good"
    elif way == "promote":
        assert promote_version(store, "tiny", 2) == read_canary(store, "tiny")
    elif way == "store":
        store.promote("tiny", 2)
    else:
        changes.roll_back(store, "tiny")
    assert store.production("tiny") == 2
    ended = read_canary(store, "tiny")
    assert ended is not None
    assert (ended.ended, ended.ended_at) == ("promoted", store.alias("tiny", "production").at)
    assert promote_version(store, "tiny", 3) is None
    changes.roll_back(store, "tiny")
    assert running_canary(store, "tiny") is None


def test_only_the_canary_that_was_meant_is_ended(store: Store) -> None:
    first = start_canary(store, "tiny", 2, mode="header")
    second = start_canary(store, "tiny", 3, mode="header")
    with pytest.raises(CanaryError):
        end_canary(store, "tiny", "aborted", canary=first)
    assert running_canary(store, "tiny") == second
    assert end_canary(store, "tiny", "aborted", canary=second).ended == "aborted"
