"""Scenes: what was done to a calibrated world, and what a diagnosis must say of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.diagnosis.world import DAY_S, Array, World, patients, world
from calibration.diagnosis.facts import Cause, RivalStatus

Where = tuple[str, frozenset[str]]
NEVER_CLEAR = (RivalStatus.POSSIBLE, RivalStatus.EXPLAINS_PART, RivalStatus.EXPLAINS_ALL)


@dataclass
class Truth:
    """What is true.

    Attributes:
        who: a group by key and names, and the second condition; one for each error.
        since: share of the time at which the error began; 0: always.
        healed: whether it is over.
        causes: what the inference must say of rivals, any of these statuses.
        lenient: a scene whose `who` is a matter of power: no other group may be named.
        open: groups that must be among the open questions.
    """

    who: tuple[tuple[Where, ...], ...] = ()
    since: float | None = None
    healed: bool = False
    causes: dict[Cause, tuple[RivalStatus, ...]] = field(default_factory=dict)
    lenient: bool = False
    any_who: bool = False
    open: tuple[Where, ...] = ()


Scene = Callable[[np.random.Generator], tuple[World, Truth]]
SCENES: dict[str, Scene] = {}
ALL: Where = ("all", frozenset())


def scene(build: Scene) -> Scene:
    SCENES[build.__name__] = build
    return build


def at(key: str, *values: int) -> Where:
    """A group by key and numbers of its values."""
    stem = "c" if key == "predicted" else key
    return (key if key == "predicted" else f"tag:{key}", frozenset(f"{stem}{v}" for v in values))


def one(*where: Where) -> tuple[tuple[Where, ...], ...]:
    return (where,)


# Nothing is wrong.


@scene
def calm(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_small(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=300, classes=2)
    w.tag("site", 4)
    return w, Truth()


def _three_keys(w: World) -> tuple[World, Truth]:
    for key in ("site", "device", "reader"):
        w.tag(key, 50)
    return w, Truth()


@scene
def calm_50_values(rng: np.random.Generator) -> tuple[World, Truth]:
    return _three_keys(world(rng))


@scene
def calm_50_values_patients(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    patients(w, 5, alike=True, apart=False)
    return _three_keys(w)


@scene
def calm_50_values_apart(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    patients(w, 3, alike=False, apart=True)
    return _three_keys(w)


@scene
def calm_50_values_unknown(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    patients(w, 3, alike=False, apart=False, known=False)
    return _three_keys(w)


@scene
def calm_1000_classes(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=4000, classes=1000, sharpness=4.2)
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_patients_known(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    patients(w, 5, alike=False, apart=True)
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_patients_alike_known(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    patients(w, 5, alike=True, apart=False)
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_patients_unknown(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    patients(w, 5, alike=True, apart=False, known=False)
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_two_images_unknown(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    patients(w, 2, alike=False, apart=False, known=False)
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_confident(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, classes=3, sharpness=4.5)
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_unsure(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, classes=12, sharpness=1.0)
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_imbalance(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, classes=3, shares=np.array([0.95, 0.04, 0.01]))
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_fitted_temperature(rng: np.random.Generator) -> tuple[World, Truth]:
    """The temperature was fitted on 1,000 labels: its error of 4 % is no drift."""
    w = world(rng, classes=3, sharpness=3.5)
    p = w.probabilities ** float(rng.choice([0.96, 1.04]))
    w.probabilities = p / p.sum(axis=1, keepdims=True)
    w.tag("site", 8)
    return w, Truth()


@scene
def calm_due(rng: np.random.Generator) -> tuple[World, Truth]:
    """Labels of the last two weeks are still due; wrong answers get theirs later."""
    w = world(rng)
    w.tag("site", 8)
    wrong = w.predicted != w.truth
    delay = rng.exponential(2, w.n) * (1 + wrong) * DAY_S
    w.labeled = w.served_s + delay < 100 * DAY_S
    return w, Truth(causes={Cause.SELECTION: (RivalStatus.RULED_OUT,)})


@scene
def calm_wrong_first(rng: np.random.Generator) -> tuple[World, Truth]:
    """Wrong answers get their labels in a day, right ones in six: the newest look bad."""
    w = world(rng)
    w.tag("site", 8)
    delay = np.where(w.predicted != w.truth, 1.0, 6.0) * DAY_S * rng.uniform(0.8, 1.2, w.n)
    w.labeled = w.served_s + delay < 100 * DAY_S
    return w, Truth(any_who=True, causes={Cause.SELECTION: (RivalStatus.POSSIBLE,)})


@scene
def calm_audit(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=20_000)
    w.drawn = rng.random(w.n) < 0.2
    w.labeled = w.drawn.copy()
    w.tag("site", 8)
    return w, Truth(causes={Cause.SELECTION: (RivalStatus.RULED_OUT,)})


@scene
def calm_season(rng: np.random.Generator) -> tuple[World, Truth]:
    """Winter changes which sites send, not how often the model is right there."""
    w = world(rng)
    p = np.full(8, 1 / 8)
    w.tag("site", 8, p)
    late = w.after(0.5)
    w.tags["site"].codes[late] = rng.choice(8, int(late.sum()), p=np.r_[0.5, np.full(7, 0.5 / 7)])
    return w, Truth()


# One group is wrong.


@scene
def everyone(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    w.tag("site", 8)
    w.shift(w.after(0.6), -1.0)
    return w, Truth(one(ALL), 0.6)


@scene
def everyone_small(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=700, classes=2)
    w.tag("site", 4)
    w.shift(w.after(0.4), -1.4)
    return w, Truth(one(ALL), 0.4)


@scene
def everyone_always(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    w.tag("site", 8)
    z = np.log(w.right) - np.log1p(-w.right)
    w.shift(np.ones(w.n, bool), -0.45 * z)
    return w, Truth(one(ALL), 0.0)


@scene
def everyone_underconfident(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, sharpness=1.6)
    w.tag("site", 8)
    w.shift(w.after(0.3), 1.0)
    return w, Truth(one(ALL), 0.3)


@scene
def slowly(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    w.tag("site", 8)
    since = w.served_s - w.time(0.3)
    w.shift(w.after(0.3), -2.0 * np.maximum(since, 0) / w.time(0.7))
    return w, Truth(one(ALL), 0.3)


@scene
def two_of_eight_sites(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    site = w.tag("site", 8)
    w.tag("device", 5)
    w.shift(np.isin(site, [2, 5]) & w.after(0.6), -2.2)
    return w, Truth(one(at("site", 2, 5)), 0.6)


@scene
def two_sites_alike_images(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    patients(w, 5, alike=True, apart=False)
    site = w.tag("site", 8)[np.arange(w.n) // 5 * 5]
    w.tags["site"].codes[:] = site
    w.shift(np.isin(site, [2, 5]) & w.after(0.4), -2.6)
    return w, Truth(one(at("site", 2, 5)), 0.4)


@scene
def two_sites_images_apart(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    patients(w, 5, alike=False, apart=True)
    site = w.tag("site", 8)[w.patient if w.patient is not None else 0]
    w.tags["site"].codes[:] = site
    w.shift(np.isin(site, [2, 5]) & w.after(0.4), -2.6)
    return w, Truth(one(at("site", 2, 5)), 0.4)


@scene
def two_sites_unknown_patients(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=8000)
    patients(w, 2, alike=False, apart=False, known=False)
    site = w.tag("site", 8)[np.arange(w.n) // 2 * 2]
    w.tags["site"].codes[:] = site
    w.shift(np.isin(site, [2, 5]) & w.after(0.4), -2.4)
    return w, Truth(one(at("site", 2, 5)), 0.4, causes={Cause.PATIENTS: NEVER_CLEAR})


@scene
def one_of_50_sites(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    site = w.tag("site", 50)
    w.shift((site == 7) & w.after(0.57), -2.4)
    return w, Truth(one(at("site", 7)), 0.57, lenient=True)


@scene
def one_of_50_sites_strong(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=20_000)
    site = w.tag("site", 50)
    w.shift((site == 7) & w.after(0.3), -2.4)
    return w, Truth(one(at("site", 7)), 0.3)


@scene
def bystander_device(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    site = w.tag("site", 8)
    device = w.tag("device", 5)
    device[np.isin(site, [2]) & (rng.random(w.n) < 0.6)] = 4
    w.shift((site == 2) & w.after(0.5), -2.2)
    return w, Truth(one(at("site", 2)), 0.5)


@scene
def twins(rng: np.random.Generator) -> tuple[World, Truth]:
    """The device stands at the bad site alone: either may be named, the other as ambiguous."""
    w = world(rng)
    site = w.tag("site", 8)
    device = w.tag("device", 5)
    device[:] = np.where(site == 2, 4, device % 4)
    flip = rng.random(w.n) < 0.015
    device[flip] = 4 - device[flip]
    w.shift((site == 2) & w.after(0.5), -2.2)
    return w, Truth(one(at("site", 2), at("device", 4)), 0.5)


@scene
def rare_class_confident(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, classes=4, sharpness=4.5, shares=np.array([0.5, 0.3, 0.17, 0.03]))
    w.tag("site", 8)
    w.shift(w.predicted == 3, -np.log(w.right / (1 - w.right)) + 1.5)
    return w, Truth(one(at("predicted", 3)), 0.0)


@scene
def rare_class_small(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=900, classes=4, sharpness=4.5, shares=np.array([0.5, 0.3, 0.14, 0.06]))
    w.tag("site", 8)
    bad = (w.predicted == 3) & (w.confidence > 0.95)
    w.shift(bad, -np.log(w.right / (1 - w.right)) + 0.4)
    return w, Truth(one(at("predicted", 3)), 0.0)


@scene
def rare_class_two_percent(rng: np.random.Generator) -> tuple[World, Truth]:
    """A hundred answers of 5,000, 96 % confident and right in 85 %."""
    w = world(rng, classes=4, sharpness=4.5, shares=np.array([0.5, 0.3, 0.18, 0.02]))
    w.tag("site", 8)
    rare = np.flatnonzero(w.predicted == 3)
    w.probabilities[rare] = [0.015, 0.01, 0.01, 0.965]
    w.right[rare] = 0.965
    w.shift(w.predicted == 3, -np.log(0.965 / 0.035) + np.log(0.82 / 0.18))
    return w, Truth(one(at("predicted", 3)))


@scene
def rare_pair(rng: np.random.Generator) -> tuple[World, Truth]:
    """One class at one site, 2 % of answers."""
    w = world(rng, n=6000, classes=5, sharpness=3.2)
    site = w.tag("site", 8)
    w.shift((site == 3) & (w.predicted == 1), -2.2)
    return w, Truth(one(("predicted&tag:site", frozenset({"site3", "c1"}))))


@scene
def site_from_first_label(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    site = w.tag("site", 8)
    w.shift(site == 4, -1.8)
    return w, Truth(one(at("site", 4)), 0.0)


@scene
def only_high_confidence(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    w.tag("site", 8)
    w.shift((w.confidence > 0.9) & w.after(0.4), -2.2)
    high: Where = ("confidence", frozenset())
    return w, Truth(one(high), 0.4)


@scene
def site_times_class(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=8000, classes=4)
    site = w.tag("site", 6)
    w.shift((site == 1) & (w.predicted == 2) & w.after(0.4), -3.2)
    both = ("predicted&tag:site", frozenset({"site1", "c2"}))
    return w, Truth(one(both), 0.4)


@scene
def errors_times_four(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, classes=3, sharpness=3.95)
    w.tag("site", 8)
    w.shift(w.after(0.3), -1.6)
    return w, Truth(one(ALL), 0.3)


@scene
def tiny_error(rng: np.random.Generator) -> tuple[World, Truth]:
    """Half a point: nothing can be known yet; no group may be accused."""
    w = world(rng)
    w.tag("site", 8)
    w.shift(np.ones(w.n, bool), -0.04)
    return w, Truth()


@scene
def site_in_bursts(rng: np.random.Generator) -> tuple[World, Truth]:
    """Sites send in bursts of 40, so errors of the broken one neighbor each other."""
    w = world(rng)
    site = w.tag("site", 8)
    site[:] = rng.integers(0, 8, w.n // 40 + 1).repeat(40)[: w.n]
    w.shift((site == 3) & w.after(0.5), -2.2)
    return w, Truth(one(at("site", 3)), 0.5)


@scene
def two_classes_of_twelve(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=8000, classes=12, sharpness=3.0)
    w.tag("site", 8)
    w.shift(np.isin(w.predicted, [4, 9]) & w.after(0.5), -1.8)
    return w, Truth(one(at("predicted", 4, 9)), 0.5)


@scene
def class_of_thousand(rng: np.random.Generator) -> tuple[World, Truth]:
    shares = np.full(300, 0.9 / 299)
    shares[11] = 0.1
    w = world(rng, n=6000, classes=300, sharpness=4.0, shares=shares)
    w.tag("site", 8)
    w.shift((w.predicted == 11) & w.after(0.3), -2.2)
    return w, Truth(one(at("predicted", 11)), 0.3)


@scene
def small_step_binary(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=6000, classes=2, sharpness=2.0)
    w.tag("site", 8)
    w.shift(w.after(0.5), -0.7)
    return w, Truth(one(ALL), 0.5)


@scene
def tag_on_some(rng: np.random.Generator) -> tuple[World, Truth]:
    """Only portable images have the tag, and only they are wrong."""
    w = world(rng)
    w.tag("site", 8)
    portable = w.tag("portable", 1)
    portable[rng.random(w.n) < 0.85] = -1
    w.shift((portable == 0) & w.after(0.4), -2.0)
    return w, Truth(one(at("portable", 0)), 0.4)


@scene
def recent(rng: np.random.Generator) -> tuple[World, Truth]:
    """It began with the newest 6 %."""
    w = world(rng, n=6000)
    w.tag("site", 8)
    w.shift(w.after(0.94), -1.6)
    return w, Truth(one(ALL), 0.94)


# Several.


@scene
def opposite_sites(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, sharpness=2.0)
    site = w.tag("site", 8)
    w.shift((site == 1) & w.after(0.4), -2.0)
    w.shift((site == 6) & w.after(0.4), 2.2)
    return w, Truth((*one(at("site", 1)), *one(at("site", 6))), 0.4)


@scene
def two_changes(rng: np.random.Generator) -> tuple[World, Truth]:
    """A site since 30 %, a class since 60 %."""
    w = world(rng, n=10_000)
    site = w.tag("site", 8)
    w.shift((site == 1) & w.after(0.3), -2.2)
    w.shift((w.predicted == 3) & w.after(0.6), -1.8)
    return w, Truth((*one(at("site", 1)), *one(at("predicted", 3))))


@scene
def healed(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    w.tag("site", 8)
    w.shift(w.after(0.3) & ~w.after(0.6), -1.4)
    return w, Truth(one(ALL), 0.3, healed=True)


@scene
def healed_site(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    site = w.tag("site", 8)
    w.shift((site == 3) & w.after(0.3) & ~w.after(0.6), -2.6)
    return w, Truth(one(at("site", 3)), 0.3, healed=True)


@scene
def broken_again(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=8000)
    w.tag("site", 8)
    w.shift((w.after(0.2) & ~w.after(0.4)) | w.after(0.8), -1.4)
    return w, Truth(one(ALL))


# Other causes.


@scene
def corrected_labels(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng)
    w.tag("site", 8)
    right = w.predicted == w.truth
    w.first = np.where(w.after(0.6) & (rng.random(w.n) < 0.3), False, right)
    return w, Truth(causes={Cause.CORRECTED: (RivalStatus.EXPLAINS_ALL,)})


@scene
def case_mix(rng: np.random.Generator) -> tuple[World, Truth]:
    live = np.tile([0.6, 0.3, 0.1], (5000, 1))
    live[2500:] = [0.15, 0.25, 0.6]
    w = world(rng, classes=3, sharpness=1.8, shares=np.array([0.6, 0.3, 0.1]), live=live)
    w.tag("site", 8)
    return w, Truth(any_who=True, causes={Cause.CASE_MIX: (RivalStatus.EXPLAINS_ALL,)})


@scene
def case_mix_seasonal(rng: np.random.Generator) -> tuple[World, Truth]:
    """Shares of the classes swing over the year."""
    swing = (1 - np.cos(np.linspace(0, 2 * np.pi, 6000)))[:, None] / 2
    live = (1 - swing) * [0.6, 0.3, 0.1] + swing * [0.2, 0.2, 0.6]
    w = world(rng, n=6000, classes=3, sharpness=1.8, shares=np.array([0.6, 0.3, 0.1]), live=live)
    w.tag("site", 8)
    found = (RivalStatus.EXPLAINS_ALL, RivalStatus.EXPLAINS_PART)
    return w, Truth(any_who=True, causes={Cause.CASE_MIX: found})


@scene
def case_mix_always(rng: np.random.Generator) -> tuple[World, Truth]:
    """A screening model at a clinic: other shares from the first answer on."""
    live = np.array([0.3, 0.7])
    w = world(rng, n=4000, classes=2, sharpness=2.0, shares=np.array([0.9, 0.1]), live=live)
    w.tag("site", 4)
    return w, Truth(any_who=True, causes={Cause.CASE_MIX: (RivalStatus.EXPLAINS_ALL,)})


@scene
def case_mix_at_one_site(rng: np.random.Generator) -> tuple[World, Truth]:
    """One new site sends sicker patients."""
    n = 6000
    site = rng.integers(0, 6, n)
    live = np.where((site == 4)[:, None], [0.2, 0.2, 0.6], [0.6, 0.3, 0.1])
    w = world(rng, n=n, classes=3, sharpness=1.8, shares=np.array([0.6, 0.3, 0.1]), live=live)
    w.tag("site", 6)[:] = site
    found = (RivalStatus.EXPLAINS_ALL,)
    return w, Truth(any_who=True, causes={Cause.CASE_MIX: found})


@scene
def case_mix_and_site(rng: np.random.Generator) -> tuple[World, Truth]:
    live = np.tile([0.6, 0.3, 0.1], (8000, 1))
    live[3200:] = [0.15, 0.25, 0.6]
    w = world(rng, n=8000, classes=3, sharpness=2.0, shares=np.array([0.6, 0.3, 0.1]), live=live)
    site = w.tag("site", 8)
    p = w.probabilities * np.where(np.arange(w.n)[:, None] < 3200, 1, live[-1] / w.shares)
    w.right = (p.max(axis=1) / p.sum(axis=1)).clip(1e-6, 1 - 1e-6)
    w.luck = rng.random(w.n)
    w.shift((site == 3) & w.after(0.4), -2.6)
    return w, Truth(one(at("site", 3)), causes={Cause.CASE_MIX: (RivalStatus.EXPLAINS_PART,)})


@scene
def reader_noise(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=6000, classes=2, sharpness=3.0)
    w.tag("site", 8)
    w.noise = np.full(w.n, 0.06)
    found = (RivalStatus.POSSIBLE, RivalStatus.EXPLAINS_ALL)
    return w, Truth(any_who=True, causes={Cause.NOISE: found})


@scene
def reader_noise_five_classes(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=5000, sharpness=3.2)
    w.tag("site", 8)
    w.noise = np.where(w.after(0.3), 0.08, 0.0)
    found = (RivalStatus.POSSIBLE, RivalStatus.EXPLAINS_ALL)
    return w, Truth(any_who=True, causes={Cause.NOISE: found})


@scene
def chosen_labels(rng: np.random.Generator) -> tuple[World, Truth]:
    """A tenth is drawn; of the others mostly wrong answers were labeled."""
    w = world(rng, n=12_000)
    w.tag("site", 8)
    w.drawn = rng.random(w.n) < 0.1
    wrong = w.predicted != w.truth
    w.labeled = w.drawn | (rng.random(w.n) < np.where(wrong, 0.5, 0.1))
    part = (RivalStatus.EXPLAINS_ALL,)
    return w, Truth(any_who=True, causes={Cause.SELECTION: part})


@scene
def chosen_labels_without_audit(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=10_000)
    w.tag("site", 8)
    wrong = w.predicted != w.truth
    w.labeled = rng.random(w.n) < np.where(wrong, 0.6, 0.15)
    return w, Truth(any_who=True, causes={Cause.SELECTION: (RivalStatus.POSSIBLE,)})


@scene
def biopsies(rng: np.random.Generator) -> tuple[World, Truth]:
    """All positives are followed up; of the negatives those that came back with disease."""
    w = world(rng, n=6000, classes=2, sharpness=2.4, shares=np.array([0.85, 0.15]))
    w.tag("site", 8)
    wrong = w.predicted != w.truth
    w.labeled = (w.predicted == 1) | (rng.random(w.n) < np.where(wrong, 0.7, 0.05))
    return w, Truth(any_who=True, causes={Cause.SELECTION: (RivalStatus.POSSIBLE,)})


@scene
def audit_labels_missing(rng: np.random.Generator) -> tuple[World, Truth]:
    """16 % of drawn labels never came, mostly of wrong answers."""
    w = world(rng, n=20_000)
    w.tag("site", 8)
    w.shift(np.ones(w.n, bool), -0.9)
    w.drawn = rng.random(w.n) < 0.25
    wrong = w.labels() != w.predicted
    w.labeled = w.drawn & ~(rng.random(w.n) < np.where(wrong, 0.6, 0.02))
    return w, Truth(any_who=True, causes={Cause.SELECTION: (RivalStatus.POSSIBLE,)})


@scene
def due_and_broken(rng: np.random.Generator) -> tuple[World, Truth]:
    """Labels of the last days are due; what is wrong is wrong without them."""
    w = world(rng)
    site = w.tag("site", 8)
    w.shift((site == 3) & w.after(0.4), -2.4)
    w.labeled = w.served_s + rng.exponential(2, w.n) * DAY_S < 100 * DAY_S
    ruled_out = (RivalStatus.RULED_OUT,)
    return w, Truth(one(at("site", 3)), 0.4, causes={Cause.SELECTION: ruled_out})


@scene
def audit_shows_site(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=25_000)
    site = w.tag("site", 8)
    w.shift((site == 3) & w.after(0.4), -2.2)
    w.drawn = rng.random(w.n) < 0.2
    w.labeled = w.drawn.copy()
    ruled_out = (RivalStatus.RULED_OUT,)
    return w, Truth(one(at("site", 3)), 0.4, causes={Cause.SELECTION: ruled_out})


@scene
def unlabeled_site(rng: np.random.Generator) -> tuple[World, Truth]:
    """One site has no labels: unknown, not fine."""
    w = world(rng)
    site = w.tag("site", 4)
    w.labeled = site != 2
    return w, Truth(causes={Cause.SELECTION: (RivalStatus.POSSIBLE,)}, open=(at("site", 2),))


@scene
def unknown_patients_explain(rng: np.random.Generator) -> tuple[World, Truth]:
    """Ten images of a patient, all alike, look like drift."""
    w = world(rng, n=4000)
    patients(w, 20, alike=True, apart=False, known=False)
    w.tag("site", 8)
    return w, Truth(causes={Cause.PATIENTS: NEVER_CLEAR})


@scene
def bursts_of_labels(rng: np.random.Generator) -> tuple[World, Truth]:
    """Answers come on ten days only."""
    days = np.sort(rng.choice(100, 10, replace=False))
    times: Array = np.sort((rng.choice(days, 5000) + rng.random(5000)) * DAY_S)
    w = world(rng, times=times)
    site = w.tag("site", 8)
    middle = float(days[5]) / 100
    w.shift((site == 3) & w.after(middle), -2.4)
    return w, Truth(one(at("site", 3)), middle)


@scene
def one_site_many_classes(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=6000, classes=12, sharpness=3.0)
    site = w.tag("site", 3)
    w.shift((site == 0) & w.after(0.5), -1.6)
    return w, Truth(one(at("site", 0)), 0.5)
