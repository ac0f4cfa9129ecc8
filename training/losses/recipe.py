"""A loss as the registry knows it: what it is called, where it comes from, how it is built and what can be set."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

Role = Literal["main", "auxiliary", "mixing"]


@dataclass(frozen=True)
class Option:
    """A number that can be set: its default, what it means, and the range it must lie in, ends included."""

    default: float
    meaning: str
    low: float = 0.0
    high: float = math.inf

    def accepts(self, value: float) -> bool:
        """Whether `value` is a finite number in the range."""
        return math.isfinite(value) and self.low <= value <= self.high


@dataclass(frozen=True)
class Recipe:
    """One line of the registry. `build` is called with the options by keyword, a main one also with `class_weights`.

    `formula` is one line for people; `source` names the paper.
    """

    title: str
    source: str
    formula: str
    role: Role
    build: Callable[..., Any]
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def defaults(self) -> str:
        """The options and their defaults, such as `beta=15 delta=0.05`; empty where there are none."""
        return " ".join(f"{name}={option.default:g}" for name, option in self.options.items())


@dataclass(frozen=True)
class LossSettings:
    """What an objective may be built from. `class_weights` (K,) multiply the main term's cost of each class.

    `beta` is the strength of the auxiliary term, where there is one; None is the method's own. `options` are the
    methods' further numbers by name, `gamma` or, where two methods have one, `focal.gamma`.
    """

    class_weights: Tensor | None = None
    beta: float | None = None
    options: Mapping[str, float] = field(default_factory=dict)
