"""Other causes: what the labels say of them."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.diagnosis.facts import Cause, Inference, RivalStatus
from calibration.diagnosis.inference import infer
from calibration.diagnosis.selection import DUE
from tests.builders.diagnosis.grading import grades, said_of
from tests.builders.diagnosis.scenes import SCENES
from tests.builders.diagnosis.world import world

CAUSES = """
calm_due calm_audit calm_wrong_first corrected_labels case_mix case_mix_after_site reader_noise
chosen_labels chosen_labels_without_audit biopsies audit_labels_missing due_and_broken
audit_shows_site unlabeled_site unknown_patients_explain
"""


def status_of(said: Inference, cause: Cause) -> RivalStatus:
    return next(each.status for each in said.rivals if each.cause is cause)


@pytest.mark.slow
def test_causes() -> None:
    for name in CAUSES.split():
        graded = grades(SCENES[name].truth, said_of(SCENES[name].build(np.random.default_rng(5))))
        assert all(graded.values()), (name, graded)


@pytest.mark.parametrize("name", ["step", "two_of_eight_sites", "rare_class"])
def test_noise_is_not_blamed_for_a_change_of_the_model(name: str) -> None:
    said = infer(SCENES[name].build(np.random.default_rng(5)).answers())
    assert status_of(said, Cause.NOISE) is RivalStatus.RULED_OUT


@pytest.mark.parametrize("seed", range(2))
def test_readers_who_err_more_often_than_before_are_no_change_of_the_model(seed: int) -> None:
    w = world(np.random.default_rng(seed), n=6_000, classes=2, sharpness=3.0)
    w.misread(w.chance(np.where(w.after(0.5), 0.12, 0.02)))
    assert status_of(infer(w.answers()), Cause.NOISE) is RivalStatus.EXPLAINS_ALL


@pytest.mark.parametrize(("share", "status"), [(0.0, "ruled_out"), (1.0, "explains_all")])
def test_second_readings_decide_about_noise(share: float, status: str) -> None:
    """As many as were asked for, all confirming or all contradicting the labels."""
    w = world(np.random.default_rng(0), n=6_000, classes=2, sharpness=3.0)
    w.misread(w.chance(np.where(w.after(0.5), 0.12, 0.02)))
    answers = w.answers()
    (asked,) = (each for each in infer(answers).rivals if each.cause is Cause.NOISE)
    doubted = np.flatnonzero(w.after(0.6) & w.wrong & (w.confidence > 0.95))[: asked.needs]
    second = np.full(w.n, -1)
    second[doubted] = int(not share)
    (told,) = (
        each for each in infer(replace(answers, second=second)).rivals if each.cause is Cause.NOISE
    )
    assert (told.status, told.needs) == (status, 0)


@pytest.mark.parametrize("classes", [2, 4])
def test_labels_that_a_site_codes_otherwise_are_no_change_of_the_model(classes: int) -> None:
    w = world(np.random.default_rng(3), n=4_000, classes=classes, sharpness=3.0)
    site = w.tag("site", 5)
    rows = (site == 2) & w.after(0.4)
    w.label[rows] = (w.label[rows] + 1) % classes
    said = infer(w.answers())
    assert status_of(said, Cause.CODING) is RivalStatus.EXPLAINS_ALL
    (coding,) = (each for each in said.rivals if each.cause is Cause.CODING)
    assert 1 <= coding.needs <= 5


def test_a_model_that_names_one_class_only_is_no_matter_of_codes() -> None:
    w = world(np.random.default_rng(3), n=4_000, classes=2, sharpness=3.0)
    w.tag("site", 5)
    w.spoil((w.site == 2) & (w.predicted == 1), 0.97)
    assert Cause.CODING not in {each.cause for each in infer(w.answers()).rivals}


@pytest.mark.parametrize("seed", range(3))
def test_a_case_mix_that_leaves_most_of_the_gap_explains_nothing(seed: int) -> None:
    """A few wrong labels of the last days change the shares of the classes as well."""
    w = world(np.random.default_rng(seed), n=2_000, classes=3, sharpness=0.5)
    w.spoil(w.after(0.9), 0.3)
    assert status_of(infer(w.answers()), Cause.CASE_MIX) is RivalStatus.RULED_OUT


def test_labels_that_are_wrong_in_one_class_are_no_case_mix() -> None:
    """They change the shares of the classes that labels say."""
    said = infer(SCENES["mined_labels_undeclared"].build(np.random.default_rng(5)).answers())
    assert status_of(said, Cause.CASE_MIX) is RivalStatus.RULED_OUT
    assert status_of(said, Cause.PROXY) is RivalStatus.EXPLAINS_ALL


@pytest.mark.parametrize("seed", [0, 2])
def test_a_case_mix_explains_its_part_beside_wrong_labels(seed: int) -> None:
    """The class with fewer cases is answered too surely, the others too little: gaps cancel."""
    live = np.repeat([[1 / 3, 1 / 3, 1 / 3], [0.11, 0.445, 0.445]], 3_500, axis=0)
    w = world(np.random.default_rng(seed), n=7_000, classes=3, sharpness=1.5, live=live)
    w.misread(w.chance(0.03))
    assert status_of(infer(w.answers()), Cause.CASE_MIX) is RivalStatus.EXPLAINS_PART


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
    w.labeled = ~w.after(0.75) | ~w.wrong
    found = next(x for x in infer(w.answers()).rivals if x.cause is Cause.SELECTION)
    assert (found.status, found.needs_kind) == (status, kind)


@pytest.mark.parametrize("classes", [2, 4])
def test_labels_of_other_answers_are_read_again_before_a_model_is_blamed(classes: int) -> None:
    w = world(np.random.default_rng(1), n=6_000, classes=classes)
    w.label = np.where(w.after(0.7), np.roll(w.label, 1), w.label)
    said = infer(w.answers())
    (coding,) = (each for each in said.rivals if each.cause is Cause.CODING)
    assert (coding.status, coding.needs > 0) == (RivalStatus.POSSIBLE, True)


@pytest.mark.parametrize("seed", [0, 3, 6])
def test_few_labels_that_probabilities_tell_are_not_of_other_answers(seed: int) -> None:
    """In no class are more right than by chance, for certain; in all together, they are."""
    w = world(np.random.default_rng(seed), n=240, classes=3, sharpness=0.3)
    w.sharpen(w.after(0), 4.0)
    said = infer(w.answers())
    assert Cause.CODING not in {each.cause for each in said.rivals}
    assert said.remedies


def test_a_remedy_that_labels_do_not_determine_is_not_tried() -> None:
    w = world(np.random.default_rng(1), n=6_000)
    w.label[w.after(0.9)] = w.rng.integers(0, 5, int(w.after(0.9).sum()))
    assert infer(w.answers()).remedies == ()
