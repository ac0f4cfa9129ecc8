"""The inference tells what is true of scenes, each a calibrated world with one thing changed."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.diagnosis.answers import Answers, Tag
from calibration.diagnosis.facts import AnswerGroup
from calibration.diagnosis.inference import infer
from tests.builders.diagnosis.grading import grades, said_of
from tests.builders.diagnosis.scenes import SCENES
from tests.builders.diagnosis.world import DAY_S, patients, world

QUICK = """
calibrated calm_patients_known calm_every_other_patient_known step always two_of_eight_sites
rare_class_small opposite_sites everyone_and_one_site healed_everyone twins site_times_class
rare_pair one_site_many_classes half_tagged half_put_right
"""


@pytest.mark.slow
def test_scenes() -> None:
    for name in QUICK.split():
        graded = grades(SCENES[name].truth, said_of(SCENES[name].build(np.random.default_rng(3))))
        assert all(graded.values()), (name, graded)


@pytest.mark.parametrize("seed", range(3))
def test_an_error_that_came_back_is_dated_from_then(seed: int) -> None:
    w = world(np.random.default_rng(seed), n=8_000)
    site = w.tag("site", 4)
    w.shift((site == 1) & w.after(0.2) & ~w.after(0.4), -3.0)
    w.shift((site == 1) & w.after(0.75), -3.0)
    found = infer(w.answers()).deviations
    assert {each.group for each in found} == {AnswerGroup("tag:site", ("site1",))}
    (now,) = (each.since for each in found if each.until is None)
    assert now.earliest is not None
    assert now.earliest <= w.time(0.75) <= now.latest
    assert [each.until is None for each in found].count(False) == 1


@pytest.mark.parametrize("seed", range(3))
def test_an_error_of_the_first_label_was_probably_always_there(seed: int) -> None:
    w = world(np.random.default_rng(seed), n=400)
    w.shift(np.ones(w.n, bool), -1.2)
    (found,) = infer(w.answers()).deviations
    assert found.since.earliest is None
    assert found.since.always > 0.5


@pytest.mark.parametrize("seed", [8, 28, 29, 56])
def test_an_error_is_of_the_first_label_only_if_that_is_likelier_than_not(seed: int) -> None:
    """The first label alone may be likelier than any other where all others together are not."""
    w = world(np.random.default_rng(seed), n=1_200, classes=2, sharpness=2.2)
    w.shift((w.tag("site", 2) == 1) & w.after(0.45), -1.2)
    (found,) = infer(w.answers()).deviations
    assert found.since.date is not None
    assert found.since.always < 0.1
    assert abs(found.since.date - w.time(0.45)) < 0.2 * w.time(1.0)


def test_a_scanner_that_errs_in_one_class_is_named_with_its_site() -> None:
    """Neither the class of all sites, nor the site in all classes."""
    for seed in (5, 11, 18):
        w = world(
            np.random.default_rng(seed), 1_620, 2, sharpness=2.2, shares=np.array([0.26, 0.74])
        )
        w.shift((w.tag("site", 2) == 1) & (w.predicted == 1) & w.after(0.5), -1.7)
        (found,) = infer(w.answers()).deviations
        assert found.group.within is not None
        assert {*found.group.values, *found.group.within.values} == {"site1", "c1"}


@pytest.mark.parametrize(("sites", "second"), [(6, 2.4), (6, -2.4), (2, -2.4)])
def test_sites_that_broke_at_different_times_have_a_date_each(sites: int, second: float) -> None:
    """All of them, too: that is not one error of everybody."""
    w = world(np.random.default_rng(5), n=8_000)
    site = w.tag("site", sites)
    w.shift((site == 1) & w.after(0.2), -2.4)
    w.shift((site == sites - 2) & w.after(0.35), second)
    found = {each.group.values: each.since for each in infer(w.answers()).deviations}
    late = f"site{sites - 2}"
    assert set(found) == {("site1",), (late,)}
    for name, share in (("site1", 0.2), (late, 0.35)):
        since = found[name,]
        assert since.earliest is not None
        assert since.earliest <= w.time(share) <= since.latest


@pytest.mark.parametrize("seed", [10, 13])
def test_one_step_of_everybody_is_not_taken_for_one_of_some_sites_after_the_others(
    seed: int,
) -> None:
    """It falls within a block, most of whose labels some sites have before it."""
    shares = np.array([0.6, 0.2, 0.1, 0.06, 0.04])
    w = world(np.random.default_rng(seed), n=6_000, sharpness=2.0, shares=shares)
    w.tag("site", 8)
    w.shift(w.after(0.4), -3.0)
    assert [each.group.key for each in infer(w.answers()).deviations] == ["all"]


@pytest.mark.parametrize("seed", [2, 7])
def test_an_error_of_everybody_that_grows_is_not_taken_for_a_rollout(seed: int) -> None:
    w = world(np.random.default_rng(seed), n=6_000, classes=3)
    w.tag("site", 8)
    w.shift(w.after(0.1), -4.0 * (w.served_s / w.time(0.9) - 1 / 9))
    assert [each.group.key for each in infer(w.answers()).deviations] == ["all"]


@pytest.mark.parametrize("seed", [1, 21])
def test_an_error_of_confident_answers_alone_is_not_taken_for_one_of_all(seed: int) -> None:
    w = world(np.random.default_rng(seed))
    w.tag("site", 8)
    w.shift((w.confidence > 0.9) & w.after(0.4), -2.2)
    assert [each.group.key for each in infer(w.answers()).deviations] == ["confidence"]


@pytest.mark.parametrize("seed", [4, 7])
def test_an_error_of_everybody_that_became_larger_accuses_no_sites(seed: int) -> None:
    w = world(np.random.default_rng(seed), n=5_000, classes=2, sharpness=2.4)
    w.tag("site", 8)
    w.spoil(np.ones(w.n, bool), np.where(w.after(0.5), 0.2, 0.05))
    assert {each.group for each in infer(w.answers()).deviations} == {AnswerGroup("all")}


def test_an_error_of_every_class_is_one_of_all() -> None:
    """Pictures say less than the model believes, so rare classes are further off than common."""
    shares = np.array([0.03, 0.05, 0.11, 0.02, 0.11, 0.66, 0.02])
    w = world(np.random.default_rng(0), n=3_000, classes=7, sharpness=2.4, shares=shares)
    seen = shares * np.exp(2.4 * (w.rng.normal(size=(w.n, 7)) + 0.8 * np.eye(7)[w.label]))
    w.probabilities = seen / seen.sum(axis=1, keepdims=True)
    assert [each.group for each in infer(w.answers()).deviations] == [AnswerGroup("all")]


def test_labels_that_come_first_where_the_model_is_right_show_no_healing() -> None:
    w = world(np.random.default_rng(1), n=5_000, classes=2, sharpness=1.6)
    w.shift(w.after(0.3), -1.2)
    early = ~w.wrong | w.chance(0.4)
    w.labeled = ~w.after(0.7) | (early & ~w.after(0.97))
    assert [each.until for each in infer(w.answers()).deviations] == [None]


@pytest.mark.parametrize("known", [True, False])
def test_what_patients_explain_leaves_no_guess(*, known: bool) -> None:
    """100 patients of 30 alike images, half of whose outcomes are one; all is calibrated."""
    for seed in (0, 1, 2, 3):
        w = world(np.random.default_rng([seed, 30, 7]), n=3_000, classes=(2, 3, 5)[seed % 3])
        w.tag("site", 50)
        own = w.rng.random(w.n)
        patients(w, 30, alike=True, apart=False, known=known)
        w.luck = np.where(w.chance(0.5), w.luck, own)
        w.shift(np.ones(w.n, bool), 0.0)
        assert infer(w.answers()).deviations == ()


def test_nothing_is_known_without_labels() -> None:
    empty = np.zeros(0, dtype=np.int64)
    said = infer(Answers(np.zeros(0), np.zeros(0), empty, empty, ("a", "b")))
    assert (said.labels, said.deviations) == (0, ())
    assert (said.bounds.lower, said.bounds.upper) == (-1.0, 1.0)


def odd_answers(seed: int) -> Answers:
    """Few answers, or one class, or certain ones, or no labels, or all at one time."""
    rng = np.random.default_rng(seed)
    n, classes = int(rng.choice([1, 2, 5, 30, 100, 300])), int(rng.choice([1, 2, 3, 40]))
    probabilities = rng.dirichlet(np.full(classes, rng.choice([0.05, 1.0])), n)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    truth = rng.choice([0.0, 0.5, 1.0], p=[0.2, 0.6, 0.2])
    label = np.where(rng.random(n) < truth, predicted, rng.integers(0, classes, n))
    unlabeled = rng.random(n) > rng.choice([0.0, 0.5, 1.0])
    values = int(rng.choice([1, 2, 30]))
    return Answers(
        served_s=np.sort(rng.random(n)) * rng.integers(0, 2),
        confidence=confidence,
        predicted=predicted,
        correct=np.where(unlabeled, -1, label == predicted),
        classes=tuple(f"c{k}" for k in range(classes)),
        tags={"site": Tag(rng.integers(-1, values, n), tuple(f"s{k}" for k in range(values)))},
        patient=rng.integers(-1, max(n // 3, 1), n) if rng.random() < 0.5 else None,
        drawn=rng.random(n) < 0.3 if rng.random() < 0.3 else None,
        first_correct=np.where(unlabeled, -1, 0) if rng.random() < 0.3 else None,
        probabilities=probabilities,
        label=np.where(unlabeled, -1, label),
        class_shares=np.full(classes, 1 / classes),
    )


def test_odd_answers_have_an_inference() -> None:
    for seed in range(20):
        answers = odd_answers(seed)
        said = infer(answers)
        assert said.labels == int((answers.correct >= 0).sum())
        for each in said.deviations:
            assert each.inside.n > 0
            assert each.since.earliest is None or each.since.earliest <= each.since.latest


def test_a_chance_of_the_last_labels_is_no_healing() -> None:
    """A growing site errs throughout; its last 76 labels happen to be right, at 160 to 1."""
    rng, n = np.random.default_rng(21), 6_000
    p = rng.dirichlet(rng.dirichlet(np.full(5, 2.0)) * 1.75 + 0.05, n).clip(1e-5)
    p /= p.sum(axis=1, keepdims=True)
    label = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 4)
    days = np.sort(-45 * rng.beta(1.3, 1.0, n))
    grown = rng.random(n) < np.clip((days - days[0]) / 90, 0.02, 0.6)
    predicted = p.argmax(axis=1)
    hit = np.flatnonzero(grown & (rng.random(n) < 0.4))
    label[hit] = (predicted[hit] + rng.integers(1, 5, len(hit))) % 5
    right = (predicted == label).astype(np.int64)
    tags = {"site": Tag(np.where(grown, 0, 1), ("G", "H"))}
    found = infer(Answers(days * DAY_S, p.max(axis=1), predicted, right, tuple("abcde"), tags))
    (deviation,) = found.deviations
    assert (deviation.group.values, deviation.until) == (("G",), None)


def test_an_error_affects_all_that_were_served_when_it_began() -> None:
    """Served on a day together, so that its figures are those since that day."""
    answers = SCENES["step"].build(np.random.default_rng(3)).answers()
    day = answers.served_s // DAY_S
    (error,) = infer(replace(answers, served_s=day)).deviations
    assert error.inside.n == int((day >= error.since.likeliest).sum())
