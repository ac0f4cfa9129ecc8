"""Scenes in which answers of all, of a group, or of several groups became wrong."""

import numpy as np

from calibration.diagnosis.facts import Cause, RivalStatus
from tests.builders.diagnosis.scene import (
    ALL,
    CURES,
    NEVER_CLEAR,
    Where,
    answers_of,
    at,
    everyone,
    group,
    healed,
    scene,
    whole,
)
from tests.builders.diagnosis.world import DAY_S, DAYS, World, patients, world

LATER = ("recalibrate_group", "find_cause", "label")
HIGH: Where = ("confidence", frozenset())
BOTH: Where = ("predicted&tag:site", frozenset({"site1", "c2"}))
PAIR: Where = ("predicted&tag:site", frozenset({"site3", "c1"}))


# Everybody.


@scene(everyone(0.6))
def step(w: World) -> None:
    w.shift(w.after(0.6), -1.0)


@scene(everyone(0.6))
def step_too_sure(w: World) -> None:
    w.sharpen(w.after(0.6), 2.2)


@scene(everyone(0.1))
def step_early(w: World) -> None:
    w.sharpen(w.after(0.1), 2.2)


@scene(everyone(0.4), sites=4, n=700, classes=2)
def step_small(w: World) -> None:
    w.shift(w.after(0.4), -1.4)


@scene(everyone(acts=("recalibrate", "find_cause", "label")), n=150, classes=3)
def few_and_bad(w: World) -> None:
    w.spoil(np.ones(w.n, bool), 0.4)


@scene(everyone(0.0))
def always(w: World) -> None:
    z = np.log(w.right) - np.log1p(-w.right)
    w.shift(np.ones(w.n, bool), -0.45 * z)


@scene(everyone(0.3, acts=("recalibrate", "second_readings")), sharpness=1.6)
def modest(w: World) -> None:
    """Labels that follow the model look alike: blind readers decide where likelihoods do not."""
    w.shift(w.after(0.3), 1.0)


@scene(everyone(who=None, causes={Cause.FOLLOWED: (RivalStatus.RULED_OUT,)}))
def modest_by_a_temperature(w: World) -> None:
    w.sharpen(w.after(0.3), 0.6)


@scene(everyone(0.3))
def slowly(w: World) -> None:
    since = w.served_s - w.time(0.3)
    w.shift(w.after(0.3), -2.0 * np.maximum(since, 0) / w.time(0.7))


@scene(everyone(0.3), classes=3, sharpness=3.95)
def errors_times_four(w: World) -> None:
    w.shift(w.after(0.3), -1.6)


@scene(everyone(0.5), n=6000, classes=2, sharpness=2.0)
def small_step_binary(w: World) -> None:
    w.shift(w.after(0.5), -0.7)


@scene(everyone(0.94, acts=("recalibrate", "find_cause", "label")), n=6000)
def recent(w: World) -> None:
    """It began with the newest 6 %."""
    w.shift(w.after(0.94), -1.6)


@scene(everyone(0.6))
def by_confidence_alone(w: World) -> None:
    """No probabilities of the other classes are logged."""
    w.sharpen(w.after(0.6), 2.2)
    w.has_probabilities = False


# One group.


@scene(group(at("site", 2, 5), since=0.6))
def two_of_eight_sites(w: World) -> None:
    w.tag("device", 5)
    w.shift(np.isin(w.site, [2, 5]) & w.after(0.6), -2.2)


@scene(group(at("site", 2, 5), since=0.4, acts=LATER))
def half_tagged(w: World) -> None:
    w.shift(np.isin(w.site, [2, 5]) & w.after(0.4), -3.0)
    w.site[w.chance(0.5)] = -1


@scene(group(at("site", 2, 5), since=0.4))
def two_sites_alike_images(w: World) -> None:
    patients(w, 5, alike=True, apart=False)
    w.shift(np.isin(w.site, [2, 5]) & w.after(0.4), -2.6)


@scene(group(at("site", 2, 5), since=0.4))
def two_sites_images_apart(w: World) -> None:
    patients(w, 5, alike=False, apart=True)
    w.shift(np.isin(w.site, [2, 5]) & w.after(0.4), -2.6)


@scene(group(at("site", 2, 5), since=0.4, acts=(), causes={Cause.PATIENTS: NEVER_CLEAR}), n=8000)
def two_sites_unknown_patients(w: World) -> None:
    patients(w, 2, alike=False, apart=False, known=False)
    w.shift(np.isin(w.site, [2, 5]) & w.after(0.4), -2.4)


@scene(group(at("site", 7), since=0.57, lenient=True, states=(), dangerous=(), acts=()), sites=50)
def one_of_50_sites(w: World) -> None:
    w.shift((w.site == 7) & w.after(0.57), -2.4)


@scene(group(at("site", 7), since=0.3, acts=LATER), sites=50, n=20_000)
def one_of_50_sites_strong(w: World) -> None:
    w.shift((w.site == 7) & w.after(0.3), -2.4)


@scene(group(at("site", 2), since=0.5))
def bystander_device(w: World) -> None:
    device = w.tag("device", 5)
    device[(w.site == 2) & w.chance(0.6)] = 4
    w.shift((w.site == 2) & w.after(0.5), -2.2)


@scene(group(at("site", 2), at("device", 4), since=0.5))
def twins(w: World) -> None:
    """The device stands at the bad site alone: either may be named, the other as ambiguous."""
    device = w.tag("device", 5)
    device[:] = np.where(w.site == 2, 4, device % 4)
    flip = w.chance(0.015)
    device[flip] = 4 - device[flip]
    w.shift((w.site == 2) & w.after(0.5), -2.2)


RARE, RARER = np.array([0.5, 0.3, 0.17, 0.03]), np.array([0.5, 0.3, 0.14, 0.06])


@scene(answers_of(at("predicted", 3), since=0.0), classes=4, sharpness=4.5, shares=RARE)
def rare_class(w: World) -> None:
    w.shift(w.predicted == 3, -np.log(w.right / (1 - w.right)) + 1.5)


@scene(answers_of(at("predicted", 3), since=0.0), n=900, classes=4, sharpness=4.5, shares=RARER)
def rare_class_small(w: World) -> None:
    """Right in 60 % where it is over 95 % confident."""
    bad = (w.predicted == 3) & (w.confidence > 0.95)
    w.shift(bad, -np.log(w.right / (1 - w.right)) + 0.4)


@scene(answers_of(at("predicted", 3)), classes=4, sharpness=4.5, shares=RARE)
def rare_class_two_percent(w: World) -> None:
    """A hundred answers of 5,000, 96 % confident and right in 82 %."""
    rare = np.flatnonzero(w.predicted == 3)
    w.probabilities[rare] = [0.015, 0.01, 0.01, 0.965]
    w.right[rare] = 0.965
    w.shift(w.predicted == 3, -np.log(0.965 / 0.035) + np.log(0.82 / 0.18))


@scene(group(PAIR, never=()), n=6000, classes=5, sharpness=3.2)
def rare_pair(w: World) -> None:
    """One class at one site, 2 % of answers."""
    w.shift((w.site == 3) & (w.predicted == 1), -2.2)


@scene(group(at("site", 4), since=0.0))
def site_from_first_label(w: World) -> None:
    w.shift(w.site == 4, -1.8)


@scene(answers_of(HIGH, since=0.4))
def only_high_confidence(w: World) -> None:
    w.shift((w.confidence > 0.9) & w.after(0.4), -2.2)


@scene(group(BOTH, since=0.4, never=()), sites=6, n=8000, classes=4)
def site_times_class(w: World) -> None:
    w.shift((w.site == 1) & (w.predicted == 2) & w.after(0.4), -3.2)


@scene(group(at("site", 3), since=0.5))
def site_in_bursts(w: World) -> None:
    """Sites send in bursts of 40, so errors of the broken one neighbor each other."""
    w.site[:] = w.rng.integers(0, 8, w.n // 40 + 1).repeat(40)[: w.n]
    w.shift((w.site == 3) & w.after(0.5), -2.2)


@scene(answers_of(at("predicted", 4, 9), since=0.5), n=8000, classes=12, sharpness=3.0)
def two_classes_of_twelve(w: World) -> None:
    w.shift(np.isin(w.predicted, [4, 9]) & w.after(0.5), -1.8)


MANY = np.r_[np.full(11, 0.9 / 299), 0.1, np.full(288, 0.9 / 299)]


@scene(answers_of(at("predicted", 11), since=0.3), n=6000, classes=300, sharpness=4.0, shares=MANY)
def class_of_many(w: World) -> None:
    w.shift((w.predicted == 11) & w.after(0.3), -2.2)


@scene(group(at("portable", 0), since=0.4))
def tag_on_some(w: World) -> None:
    """Only portable images have the tag, and only they are wrong."""
    portable = w.tag("portable", 1)
    portable[w.chance(0.85)] = -1
    w.shift((portable == 0) & w.after(0.4), -2.0)


@scene(group(at("site", 0), since=0.5), sites=3, n=6000, classes=12, sharpness=3.0)
def one_site_many_classes(w: World) -> None:
    w.shift((w.site == 0) & w.after(0.5), -1.6)


@whole(group(at("site", 3)))
def bursts_of_labels(rng: np.random.Generator) -> World:
    """Answers come on ten days only."""
    days = np.sort(rng.choice(DAYS, 10, replace=False))
    w = world(rng, times=np.sort((rng.choice(days, 5000) + rng.random(5000)) * DAY_S))
    site = w.tag("site", 8)
    w.shift((site == 3) & w.after(float(days[5]) / DAYS), -2.4)
    w.ended_days_ago += DAYS - w.served_s[-1] / DAY_S - 1
    return w


# Several.


def rollout(w: World, *, of: int, ends: float = 1.0) -> None:
    """Sites break one after the other; the first half is put right after the share `ends`."""
    for number, since in enumerate(np.linspace(0.2, 0.6, of).tolist()):
        rows = (w.site == number) & w.after(since)
        w.shift(rows & ~(w.after(ends) & (number < of / 2)), -2.4)


@scene(everyone(who=None), sites=2, n=3000)
def rollout_to_both_sites(w: World) -> None:
    rollout(w, of=2)


@scene(everyone(who=None), sites=4, n=6000)
def rollout_to_all_of_four(w: World) -> None:
    rollout(w, of=4)


@scene(everyone(who=None), n=10_000)
def rollout_to_all_of_eight(w: World) -> None:
    rollout(w, of=8)


@scene(group(at("site", 0, 1, 2, 3)), n=10_000)
def rollout_to_half_of_eight(w: World) -> None:
    rollout(w, of=4)


@scene(group(at("site", 2, 3), never=()), sites=4, n=8000)
def rollout_half_healed(w: World) -> None:
    rollout(w, of=4, ends=0.8)


@scene(group(at("site", 2, 3), since=0.4), sites=6, n=6000)
def half_put_right(w: World) -> None:
    """Four sites broke together, and two were put right."""
    w.shift((w.site < 4) & w.after(0.4) & ~((w.site < 2) & w.after(0.8)), -2.4)


OPPOSITE = {"who": ((at("site", 1),), (at("site", 6),)), "acts": (*LATER, "second_readings")}


@scene(group(**OPPOSITE, since=0.4), sharpness=2.0)
def opposite_sites(w: World) -> None:
    w.shift((w.site == 1) & w.after(0.4), -2.0)
    w.shift((w.site == 6) & w.after(0.4), 2.2)


@scene(group(at("site", 1, 6)), n=8000)
def two_sites_apart(w: World) -> None:
    w.spoil((w.site == 1) & w.after(0.3), 0.45)
    w.spoil((w.site == 6) & w.after(0.75), 0.6)


@scene(
    everyone(who=((at("site", 1),), (at("predicted", 3),)), acts=(*CURES, "find_cause")), n=10_000
)
def two_changes(w: World) -> None:
    """A site since 30 %, a class since 60 %."""
    w.shift((w.site == 1) & w.after(0.3), -2.2)
    w.shift((w.predicted == 3) & w.after(0.6), -1.8)


@scene(everyone(who=((ALL,), (at("site", 2),)), acts=(*CURES, "find_cause")), n=8000)
def everyone_and_one_site(w: World) -> None:
    """Everybody since 30 %, and one site much more since 60 %."""
    w.shift(w.after(0.3), -1.0)
    w.shift((w.site == 2) & w.after(0.6), -2.0)


@scene(healed(ALL, since=0.3))
def healed_everyone(w: World) -> None:
    w.shift(w.after(0.3) & ~w.after(0.6), -1.4)


@scene(healed(at("site", 3), since=0.3))
def healed_site(w: World) -> None:
    w.shift((w.site == 3) & w.after(0.3) & ~w.after(0.6), -2.6)


@scene(everyone(), n=8000)
def broken_again(w: World) -> None:
    w.shift((w.after(0.2) & ~w.after(0.4)) | w.after(0.8), -1.4)


@scene(group(at("site", 3), since=0.4, causes={Cause.SELECTION: (RivalStatus.RULED_OUT,)}))
def due_and_broken(w: World) -> None:
    """Labels of the last days are due; what is wrong is wrong without them."""
    w.shift((w.site == 3) & w.after(0.4), -2.4)
    w.labeled = w.served_s + w.rng.exponential(2, w.n) * DAY_S < w.time(1)


@scene(
    group(at("site", 3), since=0.4, causes={Cause.SELECTION: (RivalStatus.RULED_OUT,)}), n=25_000
)
def audit_shows_site(w: World) -> None:
    w.shift((w.site == 3) & w.after(0.4), -2.2)
    w.labeled = w.audit(0.2).copy()
