"""The inference tells what is true of scenes, each a calibrated world with one thing changed."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.calibrators.remedies import REMEDIES, choose
from calibration.diagnosis.answers import Answers, Tag
from calibration.diagnosis.facts import AnswerGroup, Inference, RemedyKind
from calibration.diagnosis.groups import UNKNOWN
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


def inferred(name: str, seed: int = 1) -> Inference:
    return infer(SCENES[name].build(np.random.default_rng(seed)).answers())


def test_a_remedy_for_all_harms_the_sites_that_are_right() -> None:
    everyone, group = inferred("two_of_eight_sites").remedies
    assert (everyone.kind, everyone.harms) == (RemedyKind.ALL, True)
    assert (group.kind, group.harms) == (RemedyKind.GROUP, False)
    harmed = [set(each.group.values) for each in everyone.effects if each.harms]
    assert {"site0", "site1", "site3", "site4", "site6", "site7"} in harmed


def test_a_remedy_for_a_group_changes_nobody_else() -> None:
    group = inferred("two_of_eight_sites").remedies[1]
    sites = {each.group.values for each in group.effects if each.group.key == "tag:site"}
    assert sites == {("site2",), ("site5",), ("site2", "site5")}
    assert "all" not in {each.group.key for each in group.effects}
    whole = next(each for each in group.effects if each.group == group.group)
    assert abs(whole.after) < abs(whole.before) / 2


@pytest.mark.parametrize("name", ["everyone_and_one_site", "two_changes"])
def test_a_remedy_for_a_group_is_tried_since_its_own_error(name: str) -> None:
    said = inferred(name)
    affected = {each.group: each.inside.n for each in said.deviations}
    groups = [each for each in said.remedies if each.kind == RemedyKind.GROUP]
    assert groups
    for remedy in groups:
        own = next(each for each in remedy.effects if each.group == remedy.group)
        assert own.n == affected[remedy.group]


def test_a_remedy_for_a_group_is_fitted_since_all_went_wrong_as_well() -> None:
    w = world(np.random.default_rng(1), n=9_000)
    device = w.tag("device", 5)
    w.shift(w.after(0.7), -0.9)
    w.shift((device == 3) & w.after(0.4), -2.2)
    group = infer(w.answers()).remedies[1]
    assert group.group.values == ("device3",)
    assert group.since_s == pytest.approx(w.time(0.7), rel=0.05)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_remedy_names_the_class_whose_errors_cancelled_each_other(seed: int) -> None:
    """Answers of c2 are too sure at a site, and too modest elsewhere."""
    w = world(np.random.default_rng(seed), n=8_000, classes=3, sharpness=2.0)
    site = w.tag("site", 6)
    w.shift((site == 1) & w.after(0.4), -2.4)
    w.shift((site != 1) & (w.predicted == 2) & w.after(0.4), 1.2)
    group = infer(w.answers()).remedies[1]
    assert group.group.values == ("site1",)
    worse = [each.group for each in group.effects if each.is_worse]
    assert (worse, group.harms) == ([AnswerGroup("predicted", ("c2",))], False)


def test_the_case_mix_is_a_remedy_where_it_explains() -> None:
    remedy = inferred("case_mix").remedies[-1]
    assert remedy.kind == RemedyKind.CASE_MIX
    assert not remedy.harms


def test_nothing_is_to_be_remedied_without_evidence_or_after_healing() -> None:
    assert inferred("calibrated").remedies == ()
    assert inferred("healed_everyone").remedies == ()


@pytest.mark.parametrize(("sites", "reached"), [(4, 4), (4, 2)])
def test_sites_that_broke_one_after_the_other_have_one_remedy(sites: int, reached: int) -> None:
    """It is fitted since the last of them broke; one for all harms nobody where all broke."""
    w = world(np.random.default_rng(1), n=6_000)
    site, last = w.tag("site", sites), 0.2
    for number, last in enumerate(np.linspace(0.2, 0.6, reached)):
        w.shift((site == number) & w.after(float(last)), -2.4)
    everyone, together = infer(w.answers()).remedies
    assert together.group.values == tuple(f"site{number}" for number in range(reached))
    assert together.since_s == pytest.approx(w.time(float(last)), rel=0.05)
    assert (together.harms, everyone.harms) == (False, reached < sites)


def test_sites_that_were_put_right_are_left_out_of_a_remedy() -> None:
    assert inferred("half_put_right").remedies[1].group.values == ("site2", "site3")


def test_where_half_of_the_tags_miss_the_site_is_named_and_cured() -> None:
    w = world(np.random.default_rng(2), n=6_000)
    site = w.tag("site", 4)
    w.shift((site == 1) & w.after(0.4), -3.0)
    site[w.chance(0.5)] = -1
    said = infer(w.answers())
    assert [each.group.values for each in said.deviations] == [("site1",), (UNKNOWN,)]
    everyone, group = said.remedies
    assert (everyone.harms, group.harms, group.group.values) == (True, False, ("site1",))


def test_labels_that_a_recalibration_would_refuse_are_not_tried() -> None:
    """A finding needs 20 labels with it, and any remedy ten patients."""
    w = world(np.random.default_rng(3), n=600, classes=2)
    w.sharpen(w.after(0), 4.0)
    given, present = w.answers(), w.probabilities[:, 1]
    finding = replace(
        given,
        confidence=present,
        predicted=np.ones(w.n, np.int64),
        correct=(w.label == 1).astype(np.int64),
        of_one=True,
    )
    rare = np.flatnonzero((w.label == 0) | (np.cumsum(w.label == 1) <= 15))
    same = replace(given, patient=np.arange(w.n) % 9)
    for answers, tried in (
        (given, True),
        (finding, True),
        (finding.rows(rare), False),
        (same, False),
    ):
        assert any(infer(answers).remedies) == tried


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_classes_are_changed_only_if_a_recalibration_would_change_them(seed: int) -> None:
    """One class of eight errs, which few labels show: it took a temperature, or nothing at all."""
    w = world(np.random.default_rng([seed, 78]), n=8000, classes=8, sharpness=3.0)
    w.shift((w.predicted == 5) & w.after(0.5), -1.5)
    answers = w.answers()
    (remedy,) = infer(answers).remedies
    used = answers.rows(np.flatnonzero(answers.served_s >= (remedy.since_s or 0)))
    assert used.probabilities is not None
    assert used.label is not None
    taken = choose(np.log(used.probabilities), used.label, allow_label_changes=True).chosen
    changes = taken is not None and not REMEDIES[taken].keeps_argmax
    assert remedy.changes_labels == changes
