"""The scenes: what happened, and what a diagnosis may say about it, as codes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.scenes import labels
from tests.scenes.labels import SITES, sites
from tests.scenes.world import DAY_S, World, make_world

QUIET = ("fine", "unknown")
TROUBLE = ("alarm", "look")
CURES = ("recalibrate", "recalibrate_group", "adjust_case_mix")


@dataclass(frozen=True)
class Scene:
    """A scene and its truth.

    Attributes:
        build: makes the world of a seed.
        states: that are right; `dangerous`: that would harm somebody who believes them.
        acts: codes of which the first available action must be one; "": none at all.
        never: codes that must not be available.
        who: the key and values that must be named, None: nobody or everybody.
        beside_all: whether all others are wrong, too, in another way.
        since: the day on which the error began; 0: from the first answer on; None: not judged.
    """

    build: Callable[[int], World]
    states: tuple[str, ...]
    acts: tuple[str, ...] = ()
    dangerous: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    who: tuple[str, frozenset[str]] | None = None
    since: float | None = None
    beside_all: bool = False


def _calm(acts: tuple[str, ...] = ("", "label"), **more: object) -> Callable[..., Scene]:
    def of(build: Callable[[int], World]) -> Scene:
        return Scene(build, QUIET, acts, never=CURES, **more)

    return of


def _many_keys(seed: int) -> World:
    world = make_world(seed)
    for key in ("site", "device", "ward"):
        world.tag(key, [f"{key[0]}{i}" for i in range(50)])
    return world


def _patients(seed: int, *, known: bool, images: int = 5) -> World:
    world = sites(seed)
    first = np.arange(len(world.truth)) // images * images
    world.probabilities, world.truth = world.probabilities[first], world.truth[first]
    world.reported = world.truth.copy()
    world.tags["site"] = world.tags["site"][first]
    if known:
        world.columns["patient"] = [f"p{i}" for i in first]
    return world


def _every_other_patient_known(seed: int) -> World:
    world = _patients(seed, known=True)
    names = world.columns["patient"]
    world.columns["patient"] = [name if at // 5 % 2 else None for at, name in enumerate(names)]
    return world


def _patients_in_ids(seed: int) -> World:
    """Five images of a patient, far apart; the request ids tell whose they are."""
    world = _patients(seed, known=False)
    order = world.random.permutation(len(world.truth))
    world.probabilities, world.truth = world.probabilities[order], world.truth[order]
    world.reported = world.truth.copy()
    world.tags["site"] = world.tags["site"][order]
    world.ids = [f"p{each // 5}_view{each % 5}.png" for each in order.tolist()]
    return world


def _two_sites(seed: int) -> World:
    world = sites(seed)
    world.tag("device", [f"d{i}" for i in range(12)])
    rows = world.at("site", "B", "E") & (world.day() >= 40)
    world.spoil(rows, 0.55)
    return world


def _rare_class(seed: int, n: int = 2_000, right: float = 0.65) -> World:
    world = make_world(seed, n, classes=4, sureness=1.5, prior=(0.4, 0.3, 0.295, 0.005))
    rare = world.random.random(n) < 0.05
    sure = world.random.uniform(0.955, 0.995, n)
    p = np.stack([(1 - sure) / 3] * 3 + [sure], axis=1)
    world.probabilities[rare] = p[rare]
    wrong = world.random.integers(0, 3, n)
    world.truth[rare] = np.where(world.random.random(n) < right, 3, wrong)[rare]
    world.reported = world.truth.copy()
    return world


def _sure(seed: int, factor: float) -> World:
    """Confidence 99.5 %, and `factor` times as many errors as it says."""
    world = make_world(seed, 5_000, classes=2)
    p = world.random.uniform(0.992, 0.998, 5_000)
    world.probabilities = np.stack([p, 1 - p], axis=1)
    flip = world.random.random(5_000) < 0.5
    world.probabilities[flip] = world.probabilities[flip, ::-1]
    wrong = world.random.random(5_000) < factor * (1 - p)
    world.truth = np.where(wrong, 1 - world.predicted, world.predicted)
    world.reported = world.truth.copy()
    return world


def _step(seed: int, day: float, factor: float = 2.2, **more: float) -> World:
    world = sites(seed, **more)
    world.sharpen(world.day() >= day, factor)
    return world


def _gradual(seed: int) -> World:
    world = sites(seed)
    day = world.day()
    for start in range(20, 60, 5):
        rows = (day >= start) & (day < start + 5)
        world.sharpen(rows, 1 + 2.5 * (start - 15) / 45)
    return world


def _healed(seed: int, *, again: bool = False) -> World:
    world = sites(seed)
    day = world.day()
    world.sharpen((day >= 12) & (day < 26), 4)
    if again:
        world.sharpen(day >= 48, 4)
    return world


def _due(seed: int) -> World:
    world = _step(seed, 40)
    world.labeled = np.arange(len(world.truth)) < 0.979 * len(world.truth)
    return world


def _old(seed: int, days_ago: float) -> World:
    return sites(seed, ended_days_ago=days_ago)


def _case_mix(seed: int, *at: str) -> World:
    """The share of the second class rises from 10 to 45 %; answers of each class stay the same."""
    world = sites(
        seed, 12_000 if at else 6_000, classes=2, sureness=1.5 if at else 2.5, prior=(0.9, 0.1)
    )
    late, share = world.day() >= 30, world.truth.mean()
    late &= world.at("site", *(at or SITES))
    keep = np.ones(len(late), bool)
    odds = (0.45 / 0.55) / (share / (1 - share))
    keep[late & (world.truth == 0)] = world.random.random((late & (world.truth == 0)).sum()) < (
        1 / odds
    )
    return only(world, keep)


def only(world: World, keep: np.ndarray) -> World:
    """The world with these answers alone."""
    kept = World(
        world.classes,
        world.probabilities[keep],
        world.truth[keep],
        world.served_s[keep],
        world.random,
        {key: values[keep] for key, values in world.tags.items()},
    )
    kept.is_full = world.is_full
    return kept


def _harder(seed: int) -> World:
    """From day 30 on the cases are harder, and the model knows it."""
    easy, hard = make_world(seed, 2_500, sureness=4.0), make_world(seed + 1, 2_500, sureness=1.0)
    easy.probabilities = np.concatenate([easy.probabilities, hard.probabilities])
    easy.truth = np.concatenate([easy.truth, hard.truth])
    easy.served_s = np.sort(np.concatenate([easy.served_s, hard.served_s]))
    world = World(easy.classes, easy.probabilities, easy.truth, easy.served_s, easy.random)
    world.tag("site", SITES)
    return world


def _bystander(seed: int) -> World:
    world = sites(seed)
    at_b = world.at("site", "B")
    world.tag("device", [f"d{i}" for i in range(8)])
    world.tags["device"][at_b & (world.random.random(len(at_b)) < 0.8)] = "d3"
    world.spoil(at_b & (world.day() >= 30), 0.4)
    return world


def _opposite(seed: int) -> World:
    world = sites(seed, 8_000)
    world.sharpen(world.at("site", "A"), 3)
    world.sharpen(world.at("site", "C"), 0.35)
    return world


def _site_and_class(seed: int) -> World:
    world = sites(seed, 8_000)
    world.spoil(world.at("site", "B") & (world.predicted == 1) & (world.day() >= 20), 0.5)
    return world


def _everyone_and_a_site(seed: int) -> World:
    world = sites(seed, 8_000)
    world.sharpen(world.day() >= 20, 2.0)
    world.spoil(world.at("site", "C") & (world.day() >= 38), 0.5)
    return world


def _one_of_fifty(seed: int) -> World:
    world = make_world(seed)
    world.tag("site", [f"s{i}" for i in range(50)])
    world.spoil(world.at("site", "s7"), 0.5)
    return world


def _one_class_of_twelve(seed: int) -> World:
    world = make_world(seed, 6_000, classes=12, sureness=3.0)
    world.spoil((world.predicted == 5) & (world.day() >= 30), 0.45)
    return world


def _lately(seed: int) -> World:
    """So few wrong labels that the watch alarms before they show who, and since when."""
    world = sites(seed, classes=5, sureness=1.0)
    world.spoil(world.day() >= 56, 0.3)
    return world


def _modest(seed: int) -> World:
    world = sites(seed)
    world.sharpen(world.day() >= 30, 0.4)
    return world


def _two_errors(seed: int) -> World:
    world = sites(seed, 8_000)
    world.spoil(world.at("site", "B") & (world.day() >= 20), 0.45)
    world.spoil(world.at("site", "G") & (world.day() >= 45), 0.6)
    return world


def _by_confidence_alone(seed: int) -> World:
    world = _step(seed, 35)
    world.is_full = False
    return world


def _half_tagged(seed: int) -> World:
    world = _two_sites(seed)
    for key in world.tags:
        world.tags[key][world.random.random(len(world.truth)) < 0.5] = None
    return world


def _few(seed: int, n: int, spoiled: float = 0.0) -> World:
    world = sites(seed, n, sureness=2.5)
    world.spoil(np.ones(n, bool), spoiled)
    return world


def _patients_at_a_site(seed: int) -> World:
    world = _patients(seed, known=True, images=3)
    patient = np.arange(len(world.truth)) // 3
    bad = world.random.random(patient.max() + 1) < 0.6
    hit = world.at("site", "D") & (world.day() >= 25) & bad[patient]
    world.truth = np.where(hit, (world.predicted + 1) % 3, world.truth)
    world.reported = world.truth.copy()
    return world


def _many_rooms(seed: int) -> World:
    world = make_world(seed)
    world.tag("room", [f"r{i}" for i in range(400)])
    return world


def _top_range(seed: int) -> World:
    world = sites(seed, 8_000)
    world.spoil((world.confidence > 0.95) & (world.day() >= 20), 0.12)
    return world


def _seasonal(seed: int) -> World:
    """The mix of sites changes from day to day; each is calibrated."""
    world = make_world(seed)
    wave = 0.5 + 0.45 * np.sin(world.day() / 5)
    night = world.random.random(len(wave)) < wave
    world.tags["site"] = np.where(night, "A", "B").astype(object)
    return world


ALL_SITES: tuple[str, frozenset[str]] = ("all", frozenset())
BE = ("tag:site", frozenset("BE"))
RECALIBRATE = ("recalibrate", "find_cause")
LOCAL = ("recalibrate_group", "find_cause")

SCENES: dict[str, Scene] = {
    "calibrated": _calm()(sites),
    "calibrated-three-keys-of-50": _calm()(_many_keys),
    "calibrated-400-rooms": _calm(("", "label", "audit"))(_many_rooms),
    "calibrated-12-classes": _calm()(lambda s: make_world(s, 5_000, classes=12, sureness=3)),
    "calibrated-seasonal-mix": _calm()(_seasonal),
    "calibrated-very-sure": _calm()(lambda s: _sure(s, 1.0)),
    "every-other-patient-known": Scene(
        _every_other_patient_known,
        ("unknown", "look", "alarm", "fine"),
        ("send_patients",),
        never=CURES,
    ),
    "patients-unknown": Scene(
        lambda s: _patients(s, known=False),
        ("unknown", "look", "alarm"),
        ("send_patients",),
        never=CURES,
    ),
    "patients-in-ids": Scene(
        _patients_in_ids,
        ("unknown", "look", "alarm", "fine"),
        ("send_patients", "", "label"),
        never=CURES,
    ),
    "two-of-eight-sites": Scene(
        _two_sites, TROUBLE, LOCAL, ("fine",), ("recalibrate",), BE, since=40
    ),
    "half-tagged": Scene(_half_tagged, TROUBLE, (*LOCAL, "label"), ("fine",), ("recalibrate",), BE),
    "rare-class-2000": Scene(
        _rare_class,
        TROUBLE,
        (*CURES, "find_cause", "label"),
        ("fine", "healed"),
        who=("predicted", frozenset({"c3"})),
    ),
    "rare-class-900": Scene(
        lambda s: _rare_class(s, 900, 0.6),
        TROUBLE,
        (*CURES, "find_cause", "label"),
        ("fine", "healed"),
        who=("predicted", frozenset({"c3"})),
    ),
    "errors-times-four": Scene(lambda s: _sure(s, 4.0), TROUBLE, RECALIBRATE, ("fine",)),
    "step": Scene(lambda s: _step(s, 35), TROUBLE, RECALIBRATE, ("fine",), who=ALL_SITES, since=35),
    "step-early": Scene(
        lambda s: _step(s, 6), TROUBLE, RECALIBRATE, ("fine",), who=ALL_SITES, since=6
    ),
    "gradual": Scene(_gradual, TROUBLE, RECALIBRATE, ("fine",), who=ALL_SITES),
    "always": Scene(
        lambda s: _step(s, -1, 1.8), TROUBLE, RECALIBRATE, ("fine",), who=ALL_SITES, since=0
    ),
    "lately": Scene(_lately, TROUBLE, (*RECALIBRATE, "label"), ("fine", "healed")),
    "modest": Scene(_modest, TROUBLE, RECALIBRATE, ("fine",), who=ALL_SITES, since=30),
    "healed": Scene(_healed, ("healed", "fine"), ("acknowledge", ""), TROUBLE, never=CURES),
    "healed-and-again": Scene(
        lambda s: _healed(s, again=True), TROUBLE, RECALIBRATE, ("fine", "healed"), who=ALL_SITES
    ),
    "corrected": Scene(labels.corrected, ("healed", "fine"), ("acknowledge", ""), (), never=CURES),
    "noise-of-readers": Scene(
        labels.noise, ("look", "alarm", "unknown", "fine"), ("second_readings", ""), never=CURES
    ),
    "chosen-no-audit": Scene(
        lambda s: labels.chosen(s, audit=False), (*TROUBLE, "unknown"), ("audit",), ("fine",), CURES
    ),
    "chosen-audit-clears": Scene(
        lambda s: labels.chosen(s, audit=True),
        ("healed", "fine"),
        ("acknowledge", ""),
        TROUBLE,
        CURES,
    ),
    "labels-due": Scene(_due, TROUBLE, RECALIBRATE, ("fine",), who=ALL_SITES, since=40),
    "wrong-ones-late": Scene(
        labels.wrong_ones_late, (*QUIET, *TROUBLE), ("", "label"), never=CURES
    ),
    "22-months-old": Scene(
        lambda s: _old(s, 670), ("stale",), ("check_callers",), ("fine",), CURES
    ),
    "labels-stopped": Scene(labels.labels_stopped, ("stale",), ("label",), ("fine",), CURES),
    "audit-gaps": Scene(
        labels.audit_gaps, ("unknown", *TROUBLE), ("complete_audit",), ("fine",), CURES
    ),
    "unlabeled-site": Scene(
        labels.unlabeled_site, ("unknown",), ("label", "audit"), ("fine",), CURES
    ),
    "no-labels": Scene(labels.none_labeled, ("unknown",), ("label", "audit"), ("fine",), CURES),
    "few-labels": Scene(lambda s: _few(s, 40), ("unknown",), ("label",), ("fine",), CURES),
    "few-labels-120": _calm()(lambda s: _few(s, 120)),
    "few-and-bad": Scene(lambda s: _few(s, 150, 0.4), TROUBLE, (*RECALIBRATE, "label"), ("fine",)),
    "case-mix": Scene(_case_mix, TROUBLE, ("adjust_case_mix",), ("fine",), never=("recalibrate",)),
    "case-mix-at-four-sites": Scene(
        lambda s: _case_mix(s, *"ABCD"),
        TROUBLE,
        LOCAL,
        ("fine",),
        ("recalibrate", "adjust_case_mix"),
    ),
    "harder-cases": _calm()(_harder),
    "bystander-device": Scene(
        _bystander,
        TROUBLE,
        LOCAL,
        ("fine",),
        ("recalibrate",),
        ("tag:site", frozenset("B")),
        since=30,
    ),
    "opposite-sites": Scene(
        _opposite, TROUBLE, LOCAL, ("fine",), ("recalibrate",), ("tag:site", frozenset("AC"))
    ),
    "site-and-class": Scene(
        _site_and_class,
        TROUBLE,
        LOCAL,
        ("fine",),
        who=("tag:site", frozenset("B")),
        since=20,
    ),
    "one-of-fifty": Scene(
        _one_of_fifty,
        TROUBLE,
        (*LOCAL, "label"),
        ("fine",),
        ("recalibrate",),
        ("tag:site", frozenset({"s7"})),
    ),
    "one-class-of-12": Scene(
        _one_class_of_twelve,
        TROUBLE,
        (*CURES, "find_cause"),
        ("fine",),
        who=("predicted", frozenset({"c5"})),
        since=30,
    ),
    "two-errors": Scene(
        _two_errors, TROUBLE, LOCAL, ("fine",), ("recalibrate",), ("tag:site", frozenset("BG"))
    ),
    "by-confidence-alone": Scene(
        _by_confidence_alone, TROUBLE, RECALIBRATE, ("fine",), who=ALL_SITES, since=35
    ),
    "patients-at-a-site": Scene(
        _patients_at_a_site,
        TROUBLE,
        LOCAL,
        ("fine",),
        ("recalibrate",),
        ("tag:site", frozenset("D")),
        since=25,
    ),
    "only-high-confidence": Scene(_top_range, TROUBLE, (*CURES, "find_cause"), ("fine",), since=20),
    "everyone-and-a-site": Scene(
        _everyone_and_a_site,
        TROUBLE,
        (*CURES, "find_cause"),
        ("fine",),
        who=("tag:site", frozenset("C")),
        beside_all=True,
    ),
    "mined-labels-undeclared": Scene(
        labels.mined_undeclared, (*TROUBLE, "unknown"), ("second_readings",), ("fine",), CURES
    ),
    "mined-labels-at-one-site": Scene(
        lambda s: labels.mined_undeclared(s, site="B"),
        (*TROUBLE, "unknown"),
        ("second_readings",),
        ("fine",),
        CURES,
    ),
    "mined-labels-declared": _calm(("", "label", "audit"))(labels.mined),
}
__all__ = ["DAY_S", "SCENES", "Scene"]
