"""What happens to labels: wrong, late, chosen, missing, corrected, or of other sources."""

import numpy as np

from tests.scenes.world import World, make_world

SITES = tuple("ABCDEFGH")


def sites(seed: int, n: int = 5_000, **more: float) -> World:
    world = make_world(seed, n, **more)
    world.tag("site", SITES)
    return world


def corrected(seed: int) -> World:
    world = sites(seed)
    day = world.day()
    hit = np.flatnonzero((day > 30) & (day < 45) & (world.random.random(len(day)) < 0.35))
    world.reported[hit] = (world.predicted[hit] + 1) % 3
    world.later.append((hit, world.truth[hit], None))
    return world


def noise(seed: int) -> World:
    """A perfect and very sure model whose readers err in one of twenty."""
    world = sites(seed, sureness=6.0)
    hit = np.flatnonzero(world.random.random(len(world.truth)) < 0.05)
    world.reported[hit] = (world.truth[hit] + world.random.integers(1, 3, len(hit))) % 3
    return world


def chosen(seed: int, *, audit: bool) -> World:
    world = sites(seed, 12_000)
    chance = np.where(world.right, 0.12, 0.6)
    world.labeled = world.random.random(len(chance)) < chance
    if audit:
        drawn = world.random.random(len(chance)) < 0.08
        world.labeled |= drawn
        world.columns["audit"] = [0.08 if each else None for each in drawn]
    return world


def labels_stopped(seed: int) -> World:
    world = sites(seed, days=90)
    world.labeled = world.day() < 62
    return world


def audit_gaps(seed: int) -> World:
    """Drawn for an audit, and most of the wrong ones have no label."""
    world = sites(seed, 12_000)
    world.sharpen(world.day() >= 30, 2.0)
    drawn = world.random.random(len(world.truth)) < 0.12
    world.columns["audit"] = [0.12 if each else None for each in drawn]
    chance = np.where(world.right, 0.98, 0.45)
    world.labeled = drawn & (world.random.random(len(chance)) < chance)
    return world


def unlabeled_site(seed: int) -> World:
    world = sites(seed)
    world.sharpen(world.at("site", "H"), 4)
    world.labeled = ~world.at("site", "H")
    return world


def none_labeled(seed: int) -> World:
    world = sites(seed, 1_500)
    world.labeled[:] = False
    return world


def wrong_ones_late(seed: int) -> World:
    """Wrong answers get their labels ten days later than right ones; nothing is wrong."""
    world = sites(seed)
    world.labeled = world.right | (world.day() < world.day().max() - 10)
    return world


def mined(seed: int) -> World:
    """Labels mined from reports, one in five wrong, are declared a proxy; readers label a tenth."""
    world = sites(seed, 6_000)
    n = len(world.truth)
    reader = world.random.random(n) < 0.1
    hit = ~reader & (world.random.random(n) < 0.2)
    world.reported = np.where(hit, (world.truth + 1) % 3, world.truth)
    world.columns["source"] = np.where(reader, "reader", "report").tolist()
    return world


def mined_undeclared(seed: int, *, site: str | None = None) -> World:
    """Labels mined from reports miss three in ten of a class; readers label a sixth, or all sites
    but one. No source is declared a proxy.
    """
    world = sites(seed, classes=2, sureness=2.2)
    n = len(world.truth)
    reader = world.random.random(n) < 0.16 if site is None else ~world.at("site", site)
    missed = ~reader & (world.truth == 1) & (world.random.random(n) < 0.3)
    world.reported = np.where(missed, 0, world.truth)
    world.columns["source"] = np.where(reader, "reader", "text").tolist()
    return world
