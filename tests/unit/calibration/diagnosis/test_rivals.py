"""Causes other than the model: what the labels, their sources and far images say of them."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.diagnosis.answers import Answers, Tag
from calibration.diagnosis.evidence import sigmoid
from calibration.diagnosis.facts import AnswerGroup, Cause, Inference, Rival, RivalStatus
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


N = 3_000
REPORTS = AnswerGroup("source", ("reports",))


def about(
    seed: int,
    by: str = "chance",
    *,
    is_true: bool = False,
    key: str = "source",
    read_again: int = 0,
    agree: bool = False,
) -> Rival | None:
    """The rival `proxy` where a third of the reports wrongly say that nothing is there.

    Labels of readers are a fifth by `chance`, all of four of five sites (`site`), or all of the
    first half (`time`). If `is_true`, readers find nothing either. They are told apart by `key`. Of
    those that reports call wrong, the first `read_again` have a second reading, of the truth, or
    one that agrees.
    """
    rng = np.random.default_rng(seed)
    confidence = sigmoid(np.abs(rng.normal(0, 2, N)))
    predicted, right = rng.integers(0, 2, N), rng.random(N) < confidence
    site = rng.integers(0, 5, N)
    reader = {"chance": rng.random(N) < 0.2, "site": site > 0, "time": np.arange(N) < N / 2}[by]
    missed = (rng.random(N) < 0.33) & (predicted == 1) & (is_true | ~reader)
    correct = (right & ~missed).astype(np.int64)
    again = np.flatnonzero((correct == 0) & ~reader & (predicted == 1))[:read_again]
    second = np.full(N, -1)
    second[again] = agree | ~right[again]
    found = infer(
        Answers(
            served_s=np.arange(N, dtype=np.float64),
            confidence=confidence,
            predicted=predicted,
            correct=correct,
            classes=("normal", "ill"),
            tags={"site": Tag(site, tuple("ABCDE"))},
            second=second,
            **{key: Tag(reader.astype(np.int64), ("reports", "readers"))},
        )
    )
    assert found.deviations
    return next((each for each in found.rivals if each.cause is Cause.PROXY), None)


@pytest.mark.parametrize("seed", range(3))
def test_readers_deny_what_reports_say(seed: int) -> None:
    rival = about(seed)
    assert (rival.status, rival.group) == (RivalStatus.EXPLAINS_ALL, REPORTS)
    assert 5 <= rival.needs <= 10  # a third of the answers that reports call wrong is right


def test_a_reader_whose_labels_alone_disagree_is_told_like_a_source() -> None:
    rival = about(0, key="reader")
    assert (rival.status, rival.group) == (
        RivalStatus.EXPLAINS_ALL,
        AnswerGroup("reader", ("reports",)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_second_readings_decide_and_are_not_asked_for_again(seed: int) -> None:
    asked = about(seed).needs
    half = about(seed, read_again=asked // 2, agree=True)
    assert (half.status, half.needs) == (RivalStatus.EXPLAINS_ALL, asked - asked // 2)
    confirmed = about(seed, read_again=asked, agree=True)
    assert (confirmed.status, confirmed.needs) == (RivalStatus.RULED_OUT, 0)
    contradicted = about(seed, read_again=60)
    assert (contradicted.status, contradicted.needs) == (RivalStatus.EXPLAINS_ALL, 0)


@pytest.mark.parametrize("seed", range(3))
def test_readers_confirm_it(seed: int) -> None:
    rival = about(seed, is_true=True)
    assert (rival.status, rival.group) == (RivalStatus.RULED_OUT, None)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["site", "time"])
def test_a_source_of_one_site_or_time_alone_may_be_the_cause(seed: int, by: str) -> None:
    rival = about(seed, by)
    assert (rival.status, rival.group) == (RivalStatus.POSSIBLE, REPORTS)


INPUTS = 8_000


def about_input(seed: int, *, far: float, errs: str, labeled: bool = True) -> Rival:
    """The rival `input` where one of four sites sends `far` as a share of far images since the
    half. Of its answers since then, those that are `errs` (far, all) are right at random. Where not
    `labeled`, no image of it that is in scope has a label.
    """
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.7, 1.0, INPUTS)
    right, site = rng.random(INPUTS) < confidence, rng.integers(0, 4, INPUTS)
    theirs = (site == 1) & (np.arange(INPUTS) >= INPUTS // 2)
    is_far = theirs & (rng.random(INPUTS) < far)
    doubtful = is_far | (rng.random(INPUTS) < 0.05)
    wrong = is_far if errs == "far" else theirs
    right = np.where(wrong, rng.random(INPUTS) < 0.5, right)
    correct = np.where(labeled | doubtful | ~theirs, right, -1).astype(np.int64)
    found = infer(
        Answers(
            *(np.arange(INPUTS, dtype=np.float64), confidence, rng.integers(0, 2, INPUTS), correct),
            classes=("normal", "ill"),
            tags={"site": Tag(site, tuple("ABCD"))},
            doubtful=doubtful,
        )
    )
    assert found.deviations[0].group == AnswerGroup("tag:site", ("B",))
    return next(each for each in found.rivals if each.cause is Cause.INPUT)


@pytest.mark.parametrize("seed", range(3))
def test_far_images_of_a_site_explain_its_error(seed: int) -> None:
    for far in (0.6, 1.0):
        rival = about_input(seed, far=far, errs="far")
        assert (rival.status, rival.needs) == (RivalStatus.EXPLAINS_ALL, 0)
        assert abs(rival.doubtful - far) < 0.1
        assert abs(rival.doubtful_elsewhere - 0.05) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_an_error_of_images_in_scope_is_not_explained(seed: int) -> None:
    assert about_input(seed, far=0.0, errs="all").status is RivalStatus.RULED_OUT
    possible = about_input(seed, far=0.5, errs="all")
    assert (possible.status, possible.needs) == (RivalStatus.POSSIBLE, 0)


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_affected_images_in_scope_would_tell(seed: int) -> None:
    rival = about_input(seed, far=0.6, errs="far", labeled=False)
    assert (rival.status, rival.needs_kind) == (RivalStatus.POSSIBLE, "in_scope")
    assert rival.needs > 10
