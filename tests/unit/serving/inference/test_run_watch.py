import threading
from typing import Any

import pytest

from serving.inference.run_watch import RunWatch


def test_first_runs_at_the_same_time_are_looked_at_by_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two would count each look twice, and end runs at half their limit."""
    followers: list[threading.Thread] = []

    class SlowToBeMade(threading.Thread):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            threading.Event().wait(0.1)  # the other runs begin meanwhile

        def start(self) -> None:
            followers.append(self)

    watch = RunWatch()

    def run() -> None:
        with watch.run(60, lambda: None):
            pass

    callers = [threading.Thread(target=run) for _ in range(4)]
    monkeypatch.setattr("serving.inference.run_watch.threading.Thread", SlowToBeMade)
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(followers) == 1
