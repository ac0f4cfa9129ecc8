"""Scenes: what was done to a calibrated world, and what a diagnosis must say of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
Change = Callable[[World], Truth]
SCENES: dict[str, Scene] = {}
ALL: Where = ("all", frozenset())


def scene(sites: int = 8, **made: Any) -> Callable[[Change], Change]:
    """Register what is done to a world that is made so, with a tag of so many sites (0: none)."""

    def register(change: Change) -> Change:
        def build(rng: np.random.Generator) -> tuple[World, Truth]:
            w = world(rng, **made)
            if sites:
                w.tag("site", sites)
            return w, change(w)

        SCENES[change.__name__] = build
        return change

    return register


def whole(build: Scene) -> Scene:
    """Register a scene that makes its world itself."""
    SCENES[build.__name__] = build
    return build


def at(key: str, *values: int) -> Where:
    """A group by key and numbers of its values."""
    stem = "c" if key == "predicted" else key
    return (key if key == "predicted" else f"tag:{key}", frozenset(f"{stem}{v}" for v in values))


def one(*where: Where) -> tuple[tuple[Where, ...], ...]:
    return (where,)


# Nothing is wrong.


@scene()
def calm(w: World) -> Truth:
    return Truth()


@scene(sites=4, n=300, classes=2)
def calm_small(w: World) -> Truth:
    return Truth()


def _three_keys(w: World) -> Truth:
    for key in ("site", "device", "reader"):
        w.tag(key, 50)
    return Truth()


@scene(sites=0)
def calm_50_values(w: World) -> Truth:
    return _three_keys(w)


@scene(sites=0)
def calm_50_values_patients(w: World) -> Truth:
    patients(w, 5, alike=True, apart=False)
    return _three_keys(w)


@scene(sites=0)
def calm_50_values_apart(w: World) -> Truth:
    patients(w, 3, alike=False, apart=True)
    return _three_keys(w)


@scene(sites=0)
def calm_50_values_unknown(w: World) -> Truth:
    patients(w, 3, alike=False, apart=False, known=False)
    return _three_keys(w)


@scene(n=4000, classes=1000, sharpness=4.2)
def calm_1000_classes(w: World) -> Truth:
    return Truth()


@scene()
def calm_patients_known(w: World) -> Truth:
    patients(w, 5, alike=False, apart=True)
    return Truth()


@scene()
def calm_every_other_patient_known(w: World) -> Truth:
    patients(w, 5, alike=True, apart=False)
    patient = np.arange(w.n) // 5
    w.patient = np.where(patient % 2, patient, -1)
    return Truth()


@scene()
def calm_patients_unknown(w: World) -> Truth:
    patients(w, 5, alike=True, apart=False, known=False)
    return Truth()


@scene()
def calm_two_images_unknown(w: World) -> Truth:
    patients(w, 2, alike=False, apart=False, known=False)
    return Truth()


@scene(classes=3, sharpness=4.5)
def calm_confident(w: World) -> Truth:
    return Truth()


@scene(classes=12, sharpness=1.0)
def calm_unsure(w: World) -> Truth:
    return Truth()


@scene(classes=3, shares=np.array([0.95, 0.04, 0.01]))
def calm_imbalance(w: World) -> Truth:
    return Truth()


@whole
def calm_fitted_temperature(rng: np.random.Generator) -> tuple[World, Truth]:
    """The temperature was fitted on 1,000 labels: its error of 4 % is no drift."""
    w = world(rng, classes=3, sharpness=3.5)
    p = w.probabilities ** float(rng.choice([0.96, 1.04]))
    w.probabilities = p / p.sum(axis=1, keepdims=True)
    w.tag("site", 8)
    return w, Truth()


@scene()
def calm_due(w: World) -> Truth:
    """Labels of the last two weeks are still due; wrong answers get theirs later."""
    wrong = w.predicted != w.truth
    delay = w.rng.exponential(2, w.n) * (1 + wrong) * DAY_S
    w.labeled = w.served_s + delay < 100 * DAY_S
    return Truth(causes={Cause.SELECTION: (RivalStatus.RULED_OUT,)})


@scene()
def calm_wrong_first(w: World) -> Truth:
    """Wrong answers get their labels in a day, right ones in six: the newest look bad."""
    delay = np.where(w.predicted != w.truth, 1.0, 6.0) * DAY_S * w.rng.uniform(0.8, 1.2, w.n)
    w.labeled = w.served_s + delay < 100 * DAY_S
    return Truth(any_who=True, causes={Cause.SELECTION: NEVER_CLEAR})


@whole
def calm_audit(rng: np.random.Generator) -> tuple[World, Truth]:
    w = world(rng, n=20_000)
    w.drawn = rng.random(w.n) < 0.2
    w.labeled = w.drawn.copy()
    w.tag("site", 8)
    return w, Truth(causes={Cause.SELECTION: (RivalStatus.RULED_OUT,)})


@whole
def calm_season(rng: np.random.Generator) -> tuple[World, Truth]:
    """Winter changes which sites send, not how often the model is right there."""
    w = world(rng)
    p = np.full(8, 1 / 8)
    w.tag("site", 8, p)
    late = w.after(0.5)
    w.tags["site"].codes[late] = rng.choice(8, int(late.sum()), p=np.r_[0.5, np.full(7, 0.5 / 7)])
    return w, Truth()


# One group is wrong.


@scene()
def everyone(w: World) -> Truth:
    w.shift(w.after(0.6), -1.0)
    return Truth(one(ALL), 0.6)


@scene(sites=4, n=700, classes=2)
def everyone_small(w: World) -> Truth:
    w.shift(w.after(0.4), -1.4)
    return Truth(one(ALL), 0.4)


@scene()
def everyone_always(w: World) -> Truth:
    z = np.log(w.right) - np.log1p(-w.right)
    w.shift(np.ones(w.n, bool), -0.45 * z)
    return Truth(one(ALL), 0.0)


@scene(sharpness=1.6)
def everyone_underconfident(w: World) -> Truth:
    w.shift(w.after(0.3), 1.0)
    return Truth(one(ALL), 0.3)


@scene()
def slowly(w: World) -> Truth:
    since = w.served_s - w.time(0.3)
    w.shift(w.after(0.3), -2.0 * np.maximum(since, 0) / w.time(0.7))
    return Truth(one(ALL), 0.3)


@scene()
def two_of_eight_sites(w: World) -> Truth:
    w.tag("device", 5)
    w.shift(np.isin(w.site, [2, 5]) & w.after(0.6), -2.2)
    return Truth(one(at("site", 2, 5)), 0.6)


@scene()
def two_sites_alike_images(w: World) -> Truth:
    patients(w, 5, alike=True, apart=False)
    site = w.site[np.arange(w.n) // 5 * 5]
    w.tags["site"].codes[:] = site
    w.shift(np.isin(site, [2, 5]) & w.after(0.4), -2.6)
    return Truth(one(at("site", 2, 5)), 0.4)


@scene()
def two_sites_images_apart(w: World) -> Truth:
    patients(w, 5, alike=False, apart=True)
    site = w.site[w.patient if w.patient is not None else 0]
    w.tags["site"].codes[:] = site
    w.shift(np.isin(site, [2, 5]) & w.after(0.4), -2.6)
    return Truth(one(at("site", 2, 5)), 0.4)


@scene(n=8000)
def two_sites_unknown_patients(w: World) -> Truth:
    patients(w, 2, alike=False, apart=False, known=False)
    site = w.site[np.arange(w.n) // 2 * 2]
    w.tags["site"].codes[:] = site
    w.shift(np.isin(site, [2, 5]) & w.after(0.4), -2.4)
    return Truth(one(at("site", 2, 5)), 0.4, causes={Cause.PATIENTS: NEVER_CLEAR})


@scene(sites=50)
def one_of_50_sites(w: World) -> Truth:
    w.shift((w.site == 7) & w.after(0.57), -2.4)
    return Truth(one(at("site", 7)), 0.57, lenient=True)


@scene(sites=50, n=20_000)
def one_of_50_sites_strong(w: World) -> Truth:
    w.shift((w.site == 7) & w.after(0.3), -2.4)
    return Truth(one(at("site", 7)), 0.3)


@scene()
def bystander_device(w: World) -> Truth:
    device = w.tag("device", 5)
    device[np.isin(w.site, [2]) & (w.rng.random(w.n) < 0.6)] = 4
    w.shift((w.site == 2) & w.after(0.5), -2.2)
    return Truth(one(at("site", 2)), 0.5)


@scene()
def twins(w: World) -> Truth:
    """The device stands at the bad site alone: either may be named, the other as ambiguous."""
    device = w.tag("device", 5)
    device[:] = np.where(w.site == 2, 4, device % 4)
    flip = w.rng.random(w.n) < 0.015
    device[flip] = 4 - device[flip]
    w.shift((w.site == 2) & w.after(0.5), -2.2)
    return Truth(one(at("site", 2), at("device", 4)), 0.5)


@scene(classes=4, sharpness=4.5, shares=np.array([0.5, 0.3, 0.17, 0.03]))
def rare_class_confident(w: World) -> Truth:
    w.shift(w.predicted == 3, -np.log(w.right / (1 - w.right)) + 1.5)
    return Truth(one(at("predicted", 3)), 0.0)


@scene(n=900, classes=4, sharpness=4.5, shares=np.array([0.5, 0.3, 0.14, 0.06]))
def rare_class_small(w: World) -> Truth:
    bad = (w.predicted == 3) & (w.confidence > 0.95)
    w.shift(bad, -np.log(w.right / (1 - w.right)) + 0.4)
    return Truth(one(at("predicted", 3)), 0.0)


@scene(classes=4, sharpness=4.5, shares=np.array([0.5, 0.3, 0.18, 0.02]))
def rare_class_two_percent(w: World) -> Truth:
    """A hundred answers of 5,000, 96 % confident and right in 85 %."""
    rare = np.flatnonzero(w.predicted == 3)
    w.probabilities[rare] = [0.015, 0.01, 0.01, 0.965]
    w.right[rare] = 0.965
    w.shift(w.predicted == 3, -np.log(0.965 / 0.035) + np.log(0.82 / 0.18))
    return Truth(one(at("predicted", 3)))


@scene(n=6000, classes=5, sharpness=3.2)
def rare_pair(w: World) -> Truth:
    """One class at one site, 2 % of answers."""
    w.shift((w.site == 3) & (w.predicted == 1), -2.2)
    return Truth(one(("predicted&tag:site", frozenset({"site3", "c1"}))))


@scene()
def site_from_first_label(w: World) -> Truth:
    w.shift(w.site == 4, -1.8)
    return Truth(one(at("site", 4)), 0.0)


@scene()
def only_high_confidence(w: World) -> Truth:
    w.shift((w.confidence > 0.9) & w.after(0.4), -2.2)
    high: Where = ("confidence", frozenset())
    return Truth(one(high), 0.4)


@scene(sites=6, n=8000, classes=4)
def site_times_class(w: World) -> Truth:
    w.shift((w.site == 1) & (w.predicted == 2) & w.after(0.4), -3.2)
    both = ("predicted&tag:site", frozenset({"site1", "c2"}))
    return Truth(one(both), 0.4)


@scene(classes=3, sharpness=3.95)
def errors_times_four(w: World) -> Truth:
    w.shift(w.after(0.3), -1.6)
    return Truth(one(ALL), 0.3)


@scene()
def tiny_error(w: World) -> Truth:
    """Half a point: nothing can be known yet; no group may be accused."""
    w.shift(np.ones(w.n, bool), -0.04)
    return Truth()


@scene()
def site_in_bursts(w: World) -> Truth:
    """Sites send in bursts of 40, so errors of the broken one neighbor each other."""
    w.site[:] = w.rng.integers(0, 8, w.n // 40 + 1).repeat(40)[: w.n]
    w.shift((w.site == 3) & w.after(0.5), -2.2)
    return Truth(one(at("site", 3)), 0.5)


@scene(n=8000, classes=12, sharpness=3.0)
def two_classes_of_twelve(w: World) -> Truth:
    w.shift(np.isin(w.predicted, [4, 9]) & w.after(0.5), -1.8)
    return Truth(one(at("predicted", 4, 9)), 0.5)


@whole
def class_of_thousand(rng: np.random.Generator) -> tuple[World, Truth]:
    shares = np.full(300, 0.9 / 299)
    shares[11] = 0.1
    w = world(rng, n=6000, classes=300, sharpness=4.0, shares=shares)
    w.tag("site", 8)
    w.shift((w.predicted == 11) & w.after(0.3), -2.2)
    return w, Truth(one(at("predicted", 11)), 0.3)


@scene(n=6000, classes=2, sharpness=2.0)
def small_step_binary(w: World) -> Truth:
    w.shift(w.after(0.5), -0.7)
    return Truth(one(ALL), 0.5)


@scene()
def tag_on_some(w: World) -> Truth:
    """Only portable images have the tag, and only they are wrong."""
    portable = w.tag("portable", 1)
    portable[w.rng.random(w.n) < 0.85] = -1
    w.shift((portable == 0) & w.after(0.4), -2.0)
    return Truth(one(at("portable", 0)), 0.4)


@scene(n=6000)
def recent(w: World) -> Truth:
    """It began with the newest 6 %."""
    w.shift(w.after(0.94), -1.6)
    return Truth(one(ALL), 0.94)


# Several.


@scene(sharpness=2.0)
def opposite_sites(w: World) -> Truth:
    w.shift((w.site == 1) & w.after(0.4), -2.0)
    w.shift((w.site == 6) & w.after(0.4), 2.2)
    return Truth((*one(at("site", 1)), *one(at("site", 6))), 0.4)


@scene(n=10_000)
def two_changes(w: World) -> Truth:
    """A site since 30 %, a class since 60 %."""
    w.shift((w.site == 1) & w.after(0.3), -2.2)
    w.shift((w.predicted == 3) & w.after(0.6), -1.8)
    return Truth((*one(at("site", 1)), *one(at("predicted", 3))))


@scene(n=8000)
def everyone_and_one_site(w: World) -> Truth:
    """Everybody since 30 %, and one site much more since 60 %."""
    w.shift(w.after(0.3), -1.0)
    w.shift((w.site == 2) & w.after(0.6), -2.0)
    return Truth((*one(ALL), *one(at("site", 2))))


@scene()
def healed(w: World) -> Truth:
    w.shift(w.after(0.3) & ~w.after(0.6), -1.4)
    return Truth(one(ALL), 0.3, healed=True)


@scene()
def healed_site(w: World) -> Truth:
    w.shift((w.site == 3) & w.after(0.3) & ~w.after(0.6), -2.6)
    return Truth(one(at("site", 3)), 0.3, healed=True)


@scene(n=8000)
def broken_again(w: World) -> Truth:
    w.shift((w.after(0.2) & ~w.after(0.4)) | w.after(0.8), -1.4)
    return Truth(one(ALL))


# Other causes.


@scene()
def corrected_labels(w: World) -> Truth:
    right = w.predicted == w.truth
    w.first = np.where(w.after(0.6) & (w.rng.random(w.n) < 0.3), False, right)
    return Truth(causes={Cause.CORRECTED: (RivalStatus.EXPLAINS_ALL,)})


@whole
def case_mix(rng: np.random.Generator) -> tuple[World, Truth]:
    live = np.tile([0.6, 0.3, 0.1], (5000, 1))
    live[2500:] = [0.15, 0.25, 0.6]
    w = world(rng, classes=3, sharpness=1.8, shares=np.array([0.6, 0.3, 0.1]), live=live)
    w.tag("site", 8)
    return w, Truth(any_who=True, causes={Cause.CASE_MIX: (RivalStatus.EXPLAINS_ALL,)})


@whole
def case_mix_seasonal(rng: np.random.Generator) -> tuple[World, Truth]:
    """Shares of the classes swing over the year."""
    swing = (1 - np.cos(np.linspace(0, 2 * np.pi, 6000)))[:, None] / 2
    live = (1 - swing) * [0.6, 0.3, 0.1] + swing * [0.2, 0.2, 0.6]
    w = world(rng, n=6000, classes=3, sharpness=1.8, shares=np.array([0.6, 0.3, 0.1]), live=live)
    w.tag("site", 8)
    found = (RivalStatus.EXPLAINS_ALL, RivalStatus.EXPLAINS_PART)
    return w, Truth(any_who=True, causes={Cause.CASE_MIX: found})


@whole
def case_mix_always(rng: np.random.Generator) -> tuple[World, Truth]:
    """A screening model at a clinic: other shares from the first answer on."""
    live = np.array([0.3, 0.7])
    w = world(rng, n=4000, classes=2, sharpness=2.0, shares=np.array([0.9, 0.1]), live=live)
    w.tag("site", 4)
    return w, Truth(any_who=True, causes={Cause.CASE_MIX: (RivalStatus.EXPLAINS_ALL,)})


@whole
def case_mix_at_one_site(rng: np.random.Generator) -> tuple[World, Truth]:
    """One new site sends sicker patients."""
    n = 6000
    site = rng.integers(0, 6, n)
    live = np.where((site == 4)[:, None], [0.2, 0.2, 0.6], [0.6, 0.3, 0.1])
    w = world(rng, n=n, classes=3, sharpness=1.8, shares=np.array([0.6, 0.3, 0.1]), live=live)
    w.tag("site", 6)[:] = site
    found = (RivalStatus.EXPLAINS_ALL,)
    return w, Truth(any_who=True, causes={Cause.CASE_MIX: found})


@whole
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


@scene(n=6000, classes=2, sharpness=3.0)
def reader_noise(w: World) -> Truth:
    w.noise = np.full(w.n, 0.06)
    found = (RivalStatus.POSSIBLE, RivalStatus.EXPLAINS_ALL)
    return Truth(any_who=True, causes={Cause.NOISE: found})


@scene(n=5000, sharpness=3.2)
def reader_noise_five_classes(w: World) -> Truth:
    w.noise = np.where(w.after(0.3), 0.08, 0.0)
    found = (RivalStatus.POSSIBLE, RivalStatus.EXPLAINS_ALL)
    return Truth(any_who=True, causes={Cause.NOISE: found})


@scene(n=12_000)
def chosen_labels(w: World) -> Truth:
    """A tenth is drawn; of the others mostly wrong answers were labeled."""
    w.drawn = w.rng.random(w.n) < 0.1
    wrong = w.predicted != w.truth
    w.labeled = w.drawn | (w.rng.random(w.n) < np.where(wrong, 0.5, 0.1))
    part = (RivalStatus.EXPLAINS_ALL,)
    return Truth(any_who=True, causes={Cause.SELECTION: part})


@scene(n=10_000)
def chosen_labels_without_audit(w: World) -> Truth:
    wrong = w.predicted != w.truth
    w.labeled = w.rng.random(w.n) < np.where(wrong, 0.6, 0.15)
    return Truth(any_who=True, causes={Cause.SELECTION: (RivalStatus.POSSIBLE,)})


@scene(n=6000, classes=2, sharpness=2.4, shares=np.array([0.85, 0.15]))
def biopsies(w: World) -> Truth:
    """All positives are followed up; of the negatives those that came back with disease."""
    wrong = w.predicted != w.truth
    w.labeled = (w.predicted == 1) | (w.rng.random(w.n) < np.where(wrong, 0.7, 0.05))
    return Truth(any_who=True, causes={Cause.SELECTION: (RivalStatus.POSSIBLE,)})


@scene(n=20_000)
def audit_labels_missing(w: World) -> Truth:
    """16 % of drawn labels never came, mostly of wrong answers."""
    w.shift(np.ones(w.n, bool), -0.9)
    w.drawn = w.rng.random(w.n) < 0.25
    wrong = w.labels() != w.predicted
    w.labeled = w.drawn & ~(w.rng.random(w.n) < np.where(wrong, 0.6, 0.02))
    return Truth(any_who=True, causes={Cause.SELECTION: (RivalStatus.POSSIBLE,)})


@scene()
def due_and_broken(w: World) -> Truth:
    """Labels of the last days are due; what is wrong is wrong without them."""
    w.shift((w.site == 3) & w.after(0.4), -2.4)
    w.labeled = w.served_s + w.rng.exponential(2, w.n) * DAY_S < 100 * DAY_S
    ruled_out = (RivalStatus.RULED_OUT,)
    return Truth(one(at("site", 3)), 0.4, causes={Cause.SELECTION: ruled_out})


@scene(n=25_000)
def audit_shows_site(w: World) -> Truth:
    w.shift((w.site == 3) & w.after(0.4), -2.2)
    w.drawn = w.rng.random(w.n) < 0.2
    w.labeled = w.drawn.copy()
    ruled_out = (RivalStatus.RULED_OUT,)
    return Truth(one(at("site", 3)), 0.4, causes={Cause.SELECTION: ruled_out})


@scene(sites=4)
def unlabeled_site(w: World) -> Truth:
    """One site has no labels: unknown, not fine."""
    w.labeled = w.site != 2
    return Truth(causes={Cause.SELECTION: (RivalStatus.POSSIBLE,)}, open=(at("site", 2),))


@scene(n=4000)
def unknown_patients_explain(w: World) -> Truth:
    """Ten images of a patient, all alike, look like drift."""
    patients(w, 20, alike=True, apart=False, known=False)
    return Truth(causes={Cause.PATIENTS: NEVER_CLEAR})


@whole
def bursts_of_labels(rng: np.random.Generator) -> tuple[World, Truth]:
    """Answers come on ten days only."""
    days = np.sort(rng.choice(100, 10, replace=False))
    times: Array = np.sort((rng.choice(days, 5000) + rng.random(5000)) * DAY_S)
    w = world(rng, times=times)
    site = w.tag("site", 8)
    middle = float(days[5]) / 100
    w.shift((site == 3) & w.after(middle), -2.4)
    return w, Truth(one(at("site", 3)), middle)


@scene(sites=3, n=6000, classes=12, sharpness=3.0)
def one_site_many_classes(w: World) -> Truth:
    w.shift((w.site == 0) & w.after(0.5), -1.6)
    return Truth(one(at("site", 0)), 0.5)
