"""Tuning: what is chosen of what was measured, and that every way is measured on a real session."""

import os

import pytest

from model_store.store.store import Store
from serving.inference.tuning import BATCHES, TuningResult, choose, tune, tuned
from serving.settings import Settings


def test_the_most_modest_of_the_good_is_chosen() -> None:
    spinning, alone = TuningResult(1, True, 1, 100.0), TuningResult(2, False, 16, 98.0)
    assert choose([spinning, alone]) is alone
    assert choose([spinning, TuningResult(2, False, 16, 96.0)]) is spinning
    assert choose([TuningResult(2, False, 16, 100.0), TuningResult(2, False, 8, 98.0)]).batch == 8
    assert choose([TuningResult(2, False, 8, 100.0), TuningResult(1, False, 32, 99.0)]).threads == 1


def test_every_way_is_measured_and_the_settings_take_the_chosen(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.inference.tuning._thread_counts", lambda: [1, 2])
    trials = tune(tiny_store.read("tiny"), seconds=0.02)
    assert {(each.threads, each.spinning, each.batch) for each in trials} == {
        (threads, spinning, batch)
        for threads in (1, 2)
        for spinning in (False, True)
        for batch in BATCHES
    }
    assert min(each.images_per_s for each in trials) > 0
    assert trials[0] is choose(trials)
    chosen = tuned(Settings(), TuningResult(3, True, 4, 1.0))
    assert (chosen.threads, chosen.spinning, chosen.max_batch) == (3, True, 4)


def test_thread_counts_are_powers_of_two_and_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.inference import tuning

    for cores, expected in ((1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, count=cores: set(range(count)))
        assert tuning._thread_counts() == expected
