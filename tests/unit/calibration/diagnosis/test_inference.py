"""The inference tells what is true of scenes, each a calibrated world with one thing changed."""

import numpy as np
import pytest

from benchmarks.diagnosis.grading import grades
from benchmarks.diagnosis.scenes import SCENES
from calibration.diagnosis.answers import Answers
from calibration.diagnosis.inference import infer

QUICK = (
    "calm",
    "calm_patients_known",
    "everyone",
    "everyone_always",
    "two_of_eight_sites",
    "rare_class_small",
    "opposite_sites",
    "healed",
    "twins",
    "site_times_class",
    "rare_pair",
    "one_site_many_classes",
)


@pytest.mark.parametrize("name", QUICK)
def test_scenes(name: str) -> None:
    world, truth = SCENES[name](np.random.default_rng(3))
    graded = grades(truth, infer(world.answers()))
    assert all(graded.values()), graded


def test_nothing_is_known_without_labels() -> None:
    empty = np.zeros(0, dtype=np.int64)
    said = infer(Answers(np.zeros(0), np.zeros(0), empty, empty, ("a", "b")))
    assert (said.labels, said.served, said.deviations) == (0, 0, ())
    assert (said.bounds.lower, said.bounds.upper) == (-1.0, 1.0)


def test_arrays_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        Answers(np.zeros(2), np.zeros(3), np.zeros(2, int), np.zeros(2, int), ("a",))
