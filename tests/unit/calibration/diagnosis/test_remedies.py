"""What a remedy for all does to those who are right, and a remedy for a group to the group."""

import numpy as np
import pytest

from benchmarks.diagnosis.scenes import SCENES
from calibration.diagnosis.facts import Inference, RemedyKind
from calibration.diagnosis.inference import infer


def said_of(name: str, seed: int = 1) -> Inference:
    world, _ = SCENES[name](np.random.default_rng(seed))
    return infer(world.answers())


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


def test_the_case_mix_is_a_remedy_where_it_explains() -> None:
    remedy = said_of("case_mix").remedies[-1]
    assert remedy.kind == RemedyKind.CASE_MIX
    assert not remedy.harms


def test_nothing_is_to_be_remedied_without_evidence_or_after_healing() -> None:
    assert said_of("calm").remedies == ()
    assert said_of("healed").remedies == ()
