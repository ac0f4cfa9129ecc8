"""Other causes: what the labels say of them."""

import numpy as np
import pytest

from benchmarks.diagnosis.grading import grades
from benchmarks.diagnosis.scenes import SCENES
from benchmarks.diagnosis.world import world
from calibration.diagnosis.answers import Answers
from calibration.diagnosis.facts import Cause, RivalStatus
from calibration.diagnosis.inference import infer
from calibration.diagnosis.selection import DUE
from tests.builders.answers import NOW_NS
from tests.scenes.scenes import only
from tests.scenes.world import make_world

CAUSES = """
calm_due calm_audit calm_wrong_first corrected_labels case_mix reader_noise chosen_labels
chosen_labels_without_audit biopsies audit_labels_missing due_and_broken audit_shows_site
unlabeled_site unknown_patients_explain
"""


def test_causes() -> None:
    for name in CAUSES.split():
        world, truth = SCENES[name](np.random.default_rng(5))
        graded = grades(truth, infer(world.answers()))
        assert all(graded.values()), graded


@pytest.mark.parametrize("name", ["everyone", "two_of_eight_sites", "rare_class_confident"])
def test_noise_is_not_blamed_for_a_change_of_the_model(name: str) -> None:
    world, _ = SCENES[name](np.random.default_rng(5))
    status = {each.cause: each.status for each in infer(world.answers()).rivals}
    assert status[Cause.NOISE] == RivalStatus.RULED_OUT


@pytest.mark.parametrize("seed", [1, 9])
def test_a_case_mix_that_leaves_most_of_the_gap_explains_nothing(seed: int) -> None:
    """A few wrong labels of the last days change the shares of the classes as well."""
    w = make_world(seed, 3_000, classes=5, sureness=0.6, now_s=NOW_NS / 1e9)
    w.spoil(w.day() >= 56, 0.3)
    right = w.right.astype(np.int64)
    given = {"probabilities": w.probabilities, "label": w.truth}
    said = infer(Answers(w.served_s, w.confidence, w.predicted, right, w.classes, **given))
    status = {each.cause: each.status for each in said.rivals}
    assert status[Cause.CASE_MIX] == RivalStatus.RULED_OUT


@pytest.mark.parametrize("seed", [0, 2])
def test_a_case_mix_explains_its_part_beside_wrong_labels(seed: int) -> None:
    """The class with fewer cases is answered too surely, the others too little: gaps cancel."""
    w = make_world(seed, 8_000, classes=3, sureness=1.5, now_s=NOW_NS / 1e9)
    fewer = (w.day() >= 30) & (w.truth == 0) & (w.random.random(8_000) < 0.75)
    w = only(w, ~fewer)
    wrong = w.random.random(len(w.truth)) < 0.03
    label = np.where(wrong, (w.truth + 1) % 3, w.truth)
    right = (label == w.predicted).astype(np.int64)
    given = {"probabilities": w.probabilities, "label": label}
    said = infer(Answers(w.served_s, w.confidence, w.predicted, right, w.classes, **given))
    status = {each.cause: each.status for each in said.rivals}
    assert status[Cause.CASE_MIX] == RivalStatus.EXPLAINS_PART


@pytest.mark.parametrize(
    ("began", "status", "kind"), [(None, "explains_all", DUE), (0.5, "ruled_out", "")]
)
def test_labels_that_are_due_explain_what_began_with_them(
    began: float | None, status: str, kind: str
) -> None:
    """Wrong answers get their labels 25 days later than right ones; or something changed before."""
    w = world(np.random.default_rng(2), n=5_000)
    if began is not None:
        w.shift(w.after(began), -2.0)
    w.labeled = ~w.after(0.75) | (w.labels() == w.predicted)
    found = next(x for x in infer(w.answers()).rivals if x.cause is Cause.SELECTION)
    assert (found.status, found.needs_kind) == (status, kind)
