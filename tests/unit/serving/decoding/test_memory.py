"""The memory of decoding is shared out, first come, first served."""

import threading

import pytest

from serving.decoding.memory import MemoryBudget


def test_no_more_is_given_than_there_is() -> None:
    budget = MemoryBudget(100)
    with budget.reserve(60, timeout_s=0) as first, budget.reserve(60, timeout_s=0) as second:
        assert (first, second) == (True, False)
    with budget.reserve(100, timeout_s=0) as whole, budget.reserve(1, timeout_s=0) as more:
        assert (whole, more) == (True, False)
    with budget.reserve(101, timeout_s=1000) as never:
        assert not never


def test_it_is_given_back_after_an_error() -> None:
    budget = MemoryBudget(100)
    with pytest.raises(KeyError), budget.reserve(100, timeout_s=0):
        raise KeyError
    with budget.reserve(100, timeout_s=0) as granted:
        assert granted


def test_a_large_image_is_not_passed_over_by_small_ones() -> None:
    budget, order = MemoryBudget(100), []
    held = budget.reserve(60, timeout_s=0)
    assert held.__enter__()

    def take(size: int, name: str) -> None:
        with budget.reserve(size, timeout_s=60) as granted:
            order.append((name, granted))

    threads = []
    for size, name in ((80, "large"), (10, "small")):  # the small one would fit at once
        threads.append(threading.Thread(target=take, args=(size, name)))
        threads[-1].start()
        while len(budget._waiting) < len(threads):
            pass
    assert order == []
    held.__exit__(None, None, None)
    for thread in threads:
        thread.join()
    assert order == [("large", True), ("small", True)]
