"""Changes to a canary that somebody else changes at the same time."""

from typing import Any

import pytest

from model_store.errors import CanaryError
from model_store.lifecycle import canary
from model_store.lifecycle.canary import change_canary, end_canary, running_canary, start_canary
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
    new_event = canary.new_event

    def late(*what: Any, **fields: Any) -> Any:
        monkeypatch.setattr(canary, "new_event", new_event)
        end_canary(store, "tiny", "aborted")
        return new_event(*what, **fields)

    monkeypatch.setattr(canary, "new_event", late)
    with pytest.raises(CanaryError):
        change_canary(store, "tiny", mode="share", share=0.5)
    assert running_canary(store, "tiny") is None


def test_only_the_canary_that_was_meant_is_ended(store: Store) -> None:
    first = start_canary(store, "tiny", 2, mode="header")
    second = start_canary(store, "tiny", 3, mode="header")
    with pytest.raises(CanaryError):
        end_canary(store, "tiny", "aborted", canary=first)
    assert running_canary(store, "tiny") == second
    assert end_canary(store, "tiny", "aborted", canary=second).ended == "aborted"
