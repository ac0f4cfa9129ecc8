"""Limits that the parent enforces."""

import os
import threading

import pytest

from model_store.kernel import ChildWatch


def test_memory_taken_under_the_next_limit_is_not_held_against_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child may take 100 bytes once its limit is 1,000, which comes while it is looked at."""
    watch = ChildWatch()
    watch.limit(50)
    raise_limit = threading.Thread(target=watch.limit, args=(1_000,))

    def memory_bytes(_: ChildWatch) -> int:
        raise_limit.start()
        raise_limit.join(0.2)  # as long as it takes where nothing holds it up
        return 10 if raise_limit.is_alive() else 100

    monkeypatch.setattr(ChildWatch, "memory_bytes", property(memory_bytes))
    watch._look_once()
    raise_limit.join()
    watch.close()
    os.close(watch.child_end)
    assert not watch.killed
