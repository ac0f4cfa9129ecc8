"""Rollbacks, retirement, canaries, and what gc keeps; the history that remembers all of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.errors import (
    AliasError,
    CanaryError,
    HistoryError,
    NotInStore,
    VersionRetired,
)
from model_store.store import changes
from model_store.store.canary import (
    change_canary,
    end_canary,
    promote_version,
    read_canary,
    running_canary,
    start_canary,
)
from model_store.store.event import Action, StoreEvent, new_event
from model_store.store.history import HISTORY_FILE
from model_store.store.state import ModelState
from model_store.store.storage import LocalStorage
from model_store.store.store import Store
from tests.builders.bundles import build_bundle


@pytest.fixture
def store(tiny_store: Store) -> Store:
    """Five versions, of which 1 and then 3 were promoted."""
    for seed in range(1, 5):
        tiny_store.publish("tiny", partial(build_bundle, seed=seed))
    tiny_store.promote("tiny", 3, by="ann", why="better")
    return tiny_store


def said(store: Store) -> list[tuple[str, int | None]]:
    return [(event.action, event.version) for event in store.state("tiny").events]


def test_a_rollback_goes_back_and_a_second_one_further(store: Store) -> None:
    store.promote("tiny", 5)
    assert changes.roll_back(store, "tiny", why="refers too much").version == 3
    assert changes.roll_back(store, "tiny").version == 1
    assert store.production("tiny") == 1
    with pytest.raises(AliasError, match="nothing"):
        changes.roll_back(store, "tiny")
    assert said(store)[-2:] == [("rolled back", 3), ("rolled back", 1)]
    store.promote("tiny", 4)
    assert changes.roll_back(store, "tiny").version == 1


@given(st.lists(st.one_of(st.integers(1, 4), st.none()), max_size=12))
def test_rollbacks_are_a_stack(acts: list[int | None]) -> None:
    """Against the plainest stack there is; None rolls back."""
    events: list[StoreEvent] = []
    stack: list[int] = []
    for act in acts:
        target = ModelState(tuple(events)).earlier("production")
        assert target == (stack[-2] if len(stack) > 1 else None)
        version = target if act is None else act
        if version is None:
            continue
        if act is None:
            stack.pop()
        elif stack[-1:] != [version]:
            stack.append(version)
        action: Action = "rolled back" if act is None else "set"
        to = {"alias": "production", "version": version, "digest": f"sha256:{64 * '0'}"}
        events.append(new_event(action, by="ann", **to))


def test_what_was_before_but_is_retired_or_gone_is_named(store: Store) -> None:
    changes.retire(store, "tiny", 1, why="wrong labels")
    with pytest.raises(VersionRetired, match="wrong labels"):
        changes.roll_back(store, "tiny")
    store.storage.remove("tiny", 1)
    with pytest.raises(NotInStore, match="no version 1"):
        changes.roll_back(store, "tiny")
    assert store.production("tiny") == 3


def test_a_retired_version_can_be_no_alias_and_no_canary(store: Store) -> None:
    assert changes.retire(store, "tiny", 2, by="ann", why="wrong labels")
    assert not changes.retire(store, "tiny", 2)
    for act in (
        lambda: store.promote("tiny", 2),
        lambda: store.set_alias("tiny", "staging", 2),
        lambda: start_canary(store, "tiny", 2, mode="shadow"),
    ):
        with pytest.raises(VersionRetired, match="by ann: wrong labels"):
            act()
    assert store.read("tiny", 2).card.version == 2
    assert changes.restore(store, "tiny", 2)
    store.promote("tiny", 2)
    assert said(store)[-3:] == [("retired", 2), ("restored", 2), ("set", 2)]


def test_what_is_in_use_cannot_be_retired(store: Store) -> None:
    start_canary(store, "tiny", 4, mode="shadow")
    for version, user in ((3, "the alias 'production'"), (4, "its canary")):
        with pytest.raises(VersionRetired, match=f"{user} points at it"):
            changes.retire(store, "tiny", version)
    end_canary(store, "tiny", "aborted", reason="slow")
    changes.retire(store, "tiny", 4)
    assert said(store)[-3:] == [("canary started", 4), ("canary aborted", 4), ("retired", 4)]


def test_a_version_is_retired_or_promoted_whichever_comes_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has looked before, and looks again."""
    for first, second, error in (
        (partial(changes.retire, store, "tiny", 2), partial(store.promote, "tiny", 2), "retired"),
        (partial(store.promote, "tiny", 4), partial(changes.retire, store, "tiny", 4), "points at"),
    ):
        with monkeypatch.context() as patch:
            meanwhile(patch, first)
            with pytest.raises(VersionRetired, match=error):
                second()
    assert store.production("tiny") == 4
    assert said(store)[-2:] == [("retired", 2), ("set", 4)]


def test_a_rollback_goes_back_from_what_is_there_when_it_happens(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, partial(store.promote, "tiny", 5))
    assert changes.roll_back(store, "tiny").version == 3


def test_what_was_written_though_nobody_answered_is_not_written_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As S3 does it if the answer is lost: the same request again finds another content."""
    swap = LocalStorage.swap

    def forget(*arguments: Any) -> bool:
        monkeypatch.setattr(LocalStorage, "swap", swap)
        swap(*arguments)
        return False

    monkeypatch.setattr(LocalStorage, "swap", forget)
    before = len(said(store))
    assert store.promote("tiny", 5).before == 3
    assert said(store)[before:] == [("set", 5)]


def meanwhile(patch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let somebody else act once, before the next change is written."""
    swap = LocalStorage.swap

    def late(*arguments: Any) -> bool:
        patch.setattr(LocalStorage, "swap", swap)
        act()
        return swap(*arguments)

    patch.setattr(LocalStorage, "swap", late)


def removable(store: Store, **options: object) -> list[int | str | None]:
    found = changes.removable(
        store, "tiny", **({"answering": (), "keep": 1, "older_than_days": 0} | options)
    )
    return [each.version or each.name for each in found]


def test_gc_keeps_what_anything_refers_to(store: Store) -> None:
    """1 is what a rollback brings back, 3 is in production, 5 is the newest."""
    assert removable(store) == [2, 4]
    assert removable(store, answering={2}) == [4]
    assert removable(store, keep=2) == [2]
    assert removable(store, older_than_days=36500) == []
    changes.retire(store, "tiny", 4)
    assert removable(store, older_than_days=36500) == [4]
    changes.restore(store, "tiny", 4)
    store.set_alias("tiny", "staging", 2)
    start_canary(store, "tiny", 4, mode="shadow")
    assert removable(store) == []


def test_gc_removes_whole_versions_and_remembers_them(store: Store) -> None:
    for each in changes.removable(store, "tiny", answering=(), keep=1, older_than_days=0):
        changes.collect(store, each, by="ann")
    assert store.versions("tiny") == [1, 3, 5]
    assert said(store)[-2:] == [("collected", 2), ("collected", 4)]
    assert not [
        path for path in store.model("tiny").iterdir() if path.name.startswith((".gone", ".part"))
    ]
    assert store.read("tiny").card.version == 3


def test_gc_stops_at_what_was_promoted_since_it_looked(store: Store) -> None:
    (removal, _) = changes.removable(store, "tiny", answering=(), keep=1, older_than_days=0)
    store.promote("tiny", 2)
    with pytest.raises(VersionRetired, match="'production' points at it"):
        changes.collect(store, removal)
    assert store.read("tiny").card.version == 2
    store.promote("tiny", 3)
    store.promote("tiny", 2)  # it was not left retired


def test_gc_clears_up_after_those_who_died(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (store.model("tiny") / ".draft-abc").mkdir()
    (store.model("tiny") / ".part-abc").write_bytes(b"")
    assert removable(store) == [2, 4]
    monkeypatch.setattr(changes, "LEFTOVER_S", -1.0)
    assert removable(store) == [2, 4, ".draft-abc", ".part-abc"]
    for each in changes.removable(store, "tiny", answering=(), keep=5, older_than_days=0):
        changes.collect(store, each)
    assert not list(store.model("tiny").glob(".[dp]*"))


def test_the_history_says_when_it_was_changed(store: Store) -> None:
    path = store.model("tiny") / HISTORY_FILE
    lines = path.read_text().splitlines(keepends=True)
    for changed in (
        [*lines[:2], *lines[3:]],
        [lines[0].replace("published", "retired"), *lines[1:]],
        [*lines, "{}\n"],
        lines[1:],
    ):
        path.write_text("".join(changed))
        with pytest.raises(HistoryError, match=r"line \d of the history of 'tiny'"):
            store.state("tiny")
        for act in (
            lambda: store.read("tiny", 1),
            lambda: store.promote("tiny", 2),
            lambda: store.publish("tiny", build_bundle),
            lambda: changes.roll_back(store, "tiny"),
            lambda: changes.retire(store, "tiny", 2),
            lambda: removable(store),
        ):
            with pytest.raises(HistoryError, match="keep only the lines before this one"):
                act()
        assert path.read_text() == "".join(changed)
    path.write_text("".join(lines[:2]))  # as the refusal advises
    store.promote("tiny", 2)
    assert store.production("tiny") == 2


def test_a_history_that_is_gone_costs_no_version(store: Store) -> None:
    (store.model("tiny") / HISTORY_FILE).unlink()
    assert (store.production("tiny"), store.versions("tiny")) == (None, [1, 2, 3, 4, 5])
    store.promote("tiny", 3)
    assert store.read("tiny").card.version == 3


def test_an_alias_is_removed_and_rolled_back(store: Store) -> None:
    for version in (2, 4):
        store.set_alias("tiny", "staging", version)
    assert store.remove_alias("tiny", "staging", why="done").version == 4
    assert store.alias("tiny", "staging") is None
    with pytest.raises(AliasError, match="production"):
        store.remove_alias("tiny", "staging")
    with pytest.raises(AliasError, match="cannot be removed"):
        store.remove_alias("tiny", "production")
    assert changes.roll_back(store, "tiny", "staging").version == 4
    assert store.production("tiny") == 3


def test_a_collection_that_died_is_finished_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (two, _) = changes.removable(store, "tiny", answering=(), keep=1, older_than_days=0)
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "remove", lambda *_: None)
        changes.collect(store, two)
    with pytest.raises(VersionRetired, match="was collected"):
        store.promote("tiny", 2)
    (again, _) = changes.removable(store, "tiny", answering=(), keep=1, older_than_days=0)
    changes.collect(store, again)
    assert store.versions("tiny") == [1, 3, 4, 5]
    assert said(store)[-1:] == [("collected", 2)]


@pytest.fixture
def of_three(tiny_store: Store) -> Store:
    for _ in range(2):
        tiny_store.publish("tiny", build_bundle)
    return tiny_store


def test_a_canary_that_ends_while_it_is_changed_does_not_run_again(
    of_three: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_canary(of_three, "tiny", 2, mode="header")
    swap = LocalStorage.swap

    def late(*arguments: Any) -> bool:
        monkeypatch.setattr(LocalStorage, "swap", swap)
        end_canary(of_three, "tiny", "aborted")
        return swap(*arguments)

    monkeypatch.setattr(LocalStorage, "swap", late)
    with pytest.raises(CanaryError):
        change_canary(of_three, "tiny", mode="share", share=0.5)
    assert running_canary(of_three, "tiny") is None


@pytest.mark.parametrize("way", ["end", "promote", "store", "rollback"])
def test_however_its_version_gets_into_production_it_has_ended(of_three: Store, way: str) -> None:
    """Otherwise it would begin again after a rollback."""
    if way == "rollback":
        for version in (2, 3):
            of_three.promote("tiny", version)
    started = start_canary(of_three, "tiny", 2, mode="share", share=0.25)
    assert running_canary(of_three, "tiny") == started
    changed = change_canary(of_three, "tiny", mode="shadow")
    assert (changed.mode, changed.share, changed.started_at) == ("shadow", 0.0, started.started_at)
    if way == "end":
        assert end_canary(of_three, "tiny", "promoted", reason="good").reason == "good"
    elif way == "promote":
        assert promote_version(of_three, "tiny", 2) == read_canary(of_three, "tiny")
    elif way == "store":
        of_three.promote("tiny", 2)
    else:
        changes.roll_back(of_three, "tiny")
    assert of_three.production("tiny") == 2
    ended = read_canary(of_three, "tiny")
    assert ended is not None
    assert (ended.ended, ended.ended_at) == ("promoted", of_three.alias("tiny", "production").at)
    assert promote_version(of_three, "tiny", 3) is None
    changes.roll_back(of_three, "tiny")
    assert running_canary(of_three, "tiny") is None


def test_only_the_canary_that_was_meant_is_ended(of_three: Store) -> None:
    first = start_canary(of_three, "tiny", 2, mode="header")
    second = start_canary(of_three, "tiny", 3, mode="header")
    with pytest.raises(CanaryError):
        end_canary(of_three, "tiny", "aborted", canary=first)
    assert running_canary(of_three, "tiny") == second
    assert end_canary(of_three, "tiny", "aborted", canary=second).ended == "aborted"
