"""Every scene of the benchmark, and how often calibrated streams show anything."""

import numpy as np
import pytest

from tests.builders.diagnosis.grading import grades, said_of
from tests.builders.diagnosis.scenes import SCENES

JUDGED = [name for name, each in SCENES.items() if each.truth.who is not None or each.truth.causes]


def share_right(name: str, runs: int) -> float:
    """The share of facts that are right, over runs."""
    right = []
    for seed in range(runs):
        world = SCENES[name].build(np.random.default_rng([seed, 11]))
        right += list(grades(SCENES[name].truth, said_of(world)).values())
    return float(np.mean(right))


@pytest.mark.nightly
@pytest.mark.parametrize("name", JUDGED)  # the others are judged by state and act, in a ledger
def test_facts_are_right_in_four_of_five_runs(name: str) -> None:
    assert share_right(name, 10) >= 0.8


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in SCENES if name.startswith("calm_50")])
def test_calibrated_streams_accuse_nobody_in_95_of_100(name: str) -> None:
    assert share_right(name, 100) >= 0.95
