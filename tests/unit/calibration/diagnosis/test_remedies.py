"""What a remedy for all does to those who are right, and a remedy for a group to the group."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.calibrators.remedies import REMEDIES, choose
from calibration.diagnosis.facts import AnswerGroup, Inference, RemedyKind
from calibration.diagnosis.groups import UNKNOWN
from calibration.diagnosis.inference import infer
from tests.builders.diagnosis.scenes import SCENES
from tests.builders.diagnosis.world import world


def said_of(name: str, seed: int = 1) -> Inference:
    return infer(SCENES[name].build(np.random.default_rng(seed)).answers())


def test_a_remedy_for_all_harms_the_sites_that_are_right() -> None:
    everyone, group = said_of("two_of_eight_sites").remedies
    assert (everyone.kind, everyone.harms) == (RemedyKind.ALL, True)
    assert (group.kind, group.harms) == (RemedyKind.GROUP, False)
    harmed = [set(each.group.values) for each in everyone.effects if each.harms]
    assert {"site0", "site1", "site3", "site4", "site6", "site7"} in harmed


def test_a_remedy_for_a_group_changes_nobody_else() -> None:
    group = said_of("two_of_eight_sites").remedies[1]
    sites = {each.group.values for each in group.effects if each.group.key == "tag:site"}
    assert sites == {("site2",), ("site5",), ("site2", "site5")}
    assert "all" not in {each.group.key for each in group.effects}
    whole = next(each for each in group.effects if each.group == group.group)
    assert abs(whole.after) < abs(whole.before) / 2


@pytest.mark.parametrize("name", ["everyone_and_one_site", "two_changes"])
def test_a_remedy_for_a_group_is_tried_since_its_own_error(name: str) -> None:
    said = said_of(name)
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
    remedy = said_of("case_mix").remedies[-1]
    assert remedy.kind == RemedyKind.CASE_MIX
    assert not remedy.harms


def test_nothing_is_to_be_remedied_without_evidence_or_after_healing() -> None:
    assert said_of("calibrated").remedies == ()
    assert said_of("healed_everyone").remedies == ()


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
    assert said_of("half_put_right").remedies[1].group.values == ("site2", "site3")


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
