"""The window in which the load generator counts answers."""

from itertools import count

import pytest

from benchmarks.serving.load import BatchWindow


def rate(
    batches: list[int], *, first_s: float, seconds: float = 2.0, per_image_s: float = 0.25
) -> float:
    """A window opened at `first_s` on `batches` in turns, a quarter of a second each."""
    window, now_s, counted = BatchWindow(seconds, connections=16), 0.0, 0
    for number in count():
        size = batches[number % len(batches)]
        now_s += size * per_image_s
        for place in range(size):
            if now_s >= first_s:
                counted += window.holds(now_s + place * 1e-4, good=True)
        if window.closed.is_set():
            return counted / window.length_s()
    raise AssertionError


def test_a_window_of_a_few_unequal_batches_finds_the_rate() -> None:
    """Opened at 3.5 s, a window found a third of the rate for batches of 12 and 4."""
    for first_s in [0.0, 1.0, 3.0, 3.5, 4.5]:
        for batches in [[16], [12, 4], [15, 1], [1, 15], [1]]:
            assert rate(batches, first_s=first_s) == pytest.approx(4.0, rel=0.01)


def test_answers_without_a_gap_end_the_window_too() -> None:
    found = rate([16], first_s=0.0, per_image_s=1e-4, seconds=0.5)
    assert found == pytest.approx(1e4, rel=0.02)


def test_refusals_count_by_status_and_do_not_open_or_close() -> None:
    window = BatchWindow(1.0, connections=2)
    assert not window.holds(0.0, good=False)
    assert not window.holds(1.0, good=True)
    assert window.holds(2.5, good=False)
    assert window.holds(2.6, good=True)
    assert not window.closed.is_set()
    assert not window.holds(4.0, good=True)
    assert (window.closed.is_set(), window.length_s()) == (True, pytest.approx(1.6))
