"""A loss in the registry: its title, source, formula, constructor and options."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

Role = Literal["main", "auxiliary", "mixing"]


@dataclass(frozen=True)
class Option:
    """A numeric option: its default, its meaning, and its range, ends included."""

    default: float
    meaning: str
    low: float = 0.0
    high: float = math.inf

    def accepts(self, value: float) -> bool:
        """Whether `value` is a finite number in the range."""
        return math.isfinite(value) and self.low <= value <= self.high


@dataclass(frozen=True)
class Recipe:
    """An entry of the registry. `build` takes the options by keyword; that of a main term also
    takes `class_weights`.

    `formula` is one readable line; `source` names the paper.
    """

    title: str
    source: str
    formula: str
    role: Role
    build: Callable[..., Any]
    options: Mapping[str, Option] = field(default_factory=dict)
    weighted: bool = False
    """Whether `build` of an auxiliary term takes `class_weights` too."""

    @property
    def defaults(self) -> str:
        """The options and their defaults, such as `beta=2 held_out=0.2`; empty if there are
        none.
        """
        return " ".join(f"{name}={option.default:g}" for name, option in self.options.items())


@dataclass(frozen=True)
class LossSettings:
    """Settings of an objective. `class_weights` (K,) multiply the main term's cost of each class.

    `beta` is the strength of the auxiliary term, if there is one; None means its default. `options`
    are further options by name: `gamma`, or `focal.gamma` if two parts have a gamma.
    """

    class_weights: Tensor | None = None
    beta: float | None = None
    options: Mapping[str, float] = field(default_factory=dict)
