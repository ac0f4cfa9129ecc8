"""A scene: what is done to a calibrated world, and what a diagnosis must say of it, as codes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calibration.diagnosis.facts import Cause, RivalStatus
from tests.builders.diagnosis.world import World, world

Where = tuple[str, frozenset[str]]
ALL: Where = ("all", frozenset())
NEVER_CLEAR = (RivalStatus.POSSIBLE, RivalStatus.EXPLAINS_PART, RivalStatus.EXPLAINS_ALL)
QUIET, TROUBLE = ("fine", "unknown"), ("alarm", "look")
CURES = ("recalibrate", "recalibrate_group", "adjust_case_mix")


@dataclass(frozen=True)
class Truth:
    """What is true, and what a diagnosis may say and offer.

    Attributes:
        who: of each error the groups that may be named; None: not judged.
        since: share of the time at which the error began; 0: always.
        healed: whether it is over.
        causes: what the inference must say of rivals, any of these statuses.
        lenient: `who` is a matter of power: no other group may be named.
        open: groups that must be among the open questions.
        states: that are right; `dangerous`: that would harm somebody who believes them.
        acts: codes of which the first available action must be one; "": none at all.
        never: codes that must not be available.
    """

    who: tuple[tuple[Where, ...], ...] | None = ()
    since: float | None = None
    healed: bool = False
    causes: dict[Cause, tuple[RivalStatus, ...]] = field(default_factory=dict)
    lenient: bool = False
    open: tuple[Where, ...] = ()
    states: tuple[str, ...] = QUIET
    dangerous: tuple[str, ...] = ()
    acts: tuple[str, ...] = ("", "label")
    never: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """`build` makes a world of which `truth` is true."""

    build: Callable[[np.random.Generator], World]
    truth: Truth


SCENES: dict[str, Scene] = {}


def scene(truth: Truth, *, sites: int = 8, **made: Any) -> Callable[..., Callable[..., Any]]:
    """Register what is done to a world that is made so, with a tag of so many sites (0: none)."""

    def register(change: Callable[[World], World | None]) -> Callable[[World], World | None]:
        def build(rng: np.random.Generator) -> World:
            w = world(rng, **made)
            if sites:
                w.tag("site", sites)
            change(w)
            return w

        SCENES[change.__name__] = Scene(build, truth)
        return change

    return register


def whole(truth: Truth) -> Callable[..., Callable[..., Any]]:
    """Register a scene that makes its world itself."""

    def register(build: Callable[[np.random.Generator], World]) -> Callable[..., World]:
        SCENES[build.__name__] = Scene(build, truth)
        return build

    return register


def at(key: str, *values: int) -> Where:
    """A group by key and numbers of its values."""
    stem = "c" if key == "predicted" else key
    return (key if key == "predicted" else f"tag:{key}", frozenset(f"{stem}{v}" for v in values))


def calm(**more: Any) -> Truth:
    """Nothing is wrong: nobody may be accused, nothing changed."""
    return Truth(**{"never": CURES} | more)


def everyone(since: float | None = None, **more: Any) -> Truth:
    """All answers are wrong."""
    given = {"who": ((ALL,),), "states": TROUBLE, "acts": ("recalibrate", "find_cause")}
    return Truth(since=since, **given | {"dangerous": ("fine",)} | more)


def group(*where: Where, since: float | None = None, **more: Any) -> Truth:
    """One group of a tag is wrong, by any of these names, and all others are right."""
    given = {"acts": ("recalibrate_group", "find_cause"), "never": ("recalibrate",)}
    return everyone(since, **{"who": (where,)} | given | more)


def answers_of(*where: Where, since: float | None = None, **more: Any) -> Truth:
    """Answers of a class, or of a range of confidence, are wrong."""
    return everyone(since, **{"who": (where,), "acts": (*CURES, "find_cause", "label")} | more)


def healed(*where: Where, since: float, **more: Any) -> Truth:
    """An error that is over."""
    given = {"states": ("healed", "fine"), "acts": ("acknowledge", "")}
    given |= {"dangerous": ("alarm",), "never": CURES}
    return Truth(who=(where,), since=since, healed=True, **given | more)


def doubt(cause: Cause, *statuses: RivalStatus, acts: tuple[str, ...] = (), **more: Any) -> Truth:
    """Labels show an error, or hide one, for another cause that must be settled first."""
    given = {"who": None, "states": (*TROUBLE, "unknown"), "dangerous": ("fine",), "never": CURES}
    return Truth(**given | {"causes": {cause: statuses}, "acts": acts} | more)
