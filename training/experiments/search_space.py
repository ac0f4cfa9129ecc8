"""The recipes that a search tries: the same draws for every method, and with each a value of the
method's own strength.

The draws are a Latin hypercube: each value of an axis is in as many recipes as every other. The
first recipe is the default one. Recipe number t has the same shared choices for every method, so
methods differ by their losses alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from training.errors import BadChoice
from training.experiments.variant import Variant, value_of
from training.runs.config import TrainConfig

Axes = Mapping[str, tuple[Any, ...]]
SHOWN = "shown"  # training images shown, again in each epoch; epochs follow from it
SHARED: Axes = {
    SHOWN: (19200, 9600),
    "learning_rate": (1e-3, 3e-4, 3e-3),
    "batch_size": (64, 256),
    "class_weights": ("natural", "balanced"),
    "averaging": ("none", "ema"),
    "dropout": (0.5, 0.25),
}
FIXED: Mapping[str, Any] = {"head": "pooled", "select": "val_nll", "ema_decay": 0.95}
METHODS = (
    "ce",
    "dca beta=2,1,5,10",
    "dca-by-class beta=2,1,5,10",
    "dca-weighted beta=2,1,5,10",
    "dca-one-sided beta=2,1,5,10",
    "label-smoothing smoothing=0.1,0.02,0.05,0.2",
    "focal gamma=2,0.5,1,3",
    "mixup alpha=0.2,0.1,0.4,1",
    "mmce beta=4,0.5,1,2",
    "soft-ece beta=1,0.25,0.5,2",
)


@dataclass(frozen=True)
class SearchedMethod:
    """A method whose `own` axes are searched beside the shared ones; `variant` has its fixed
    choices.
    """

    variant: Variant
    own: Axes

    @property
    def size(self) -> int:
        """Values of the own axes together."""
        return prod(map(len, self.own.values()))


@dataclass(frozen=True)
class SearchedRecipe:
    """One point of the space: `number` from 0, and the changes of a TrainConfig."""

    number: int
    changes: Mapping[str, Any]

    def variant(self, method: SearchedMethod, *, image_count: int) -> Variant:
        """The method with this recipe, for a data set of `image_count` training images."""
        changes = dict(self.changes)
        shown = changes.pop(SHOWN, None)
        if shown is not None:
            changes["epochs"] = max(1, round(shown / image_count))
        return Variant(
            f"{method.variant.title} #{self.number}",
            method.variant.subject,
            changes | dict(method.variant.changes),
        )

    def text(self) -> str:
        """The recipe in the words of the command line.

        >>> SearchedRecipe(1, {"learning_rate": 0.001, "averaging": "ema"}).text()
        'learning_rate=0.001 averaging=ema'
        """
        return " ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.changes.items()
        )


def searched_method(variant: Variant) -> SearchedMethod:
    """A method from the command line: a value with commas is an axis, as in `focal gamma=1,2,3`.

    >>> from training.experiments.variant import parse_variant
    >>> found = searched_method(parse_variant("dca held_out=0 beta=5,10"))
    >>> found.variant.title, found.own
    ('dca held_out=0', {'beta': (5, 10)})
    """
    plain, own = split_axes(variant)
    return SearchedMethod(plain, own)


def split_axes(variant: Variant) -> tuple[Variant, Axes]:
    """A data set or method without the axes in its changes, and these: values with commas, and
    `shown`.
    """
    own = {
        name: axis(value) if isinstance(value, str) else (value,)
        for name, value in variant.changes.items()
        if name == SHOWN or (isinstance(value, str) and "," in value)
    }
    fixed = {name: value for name, value in variant.changes.items() if name not in own}
    words = [word for word in variant.title.split() if word.partition("=")[0] not in own]
    return Variant(" ".join(words), variant.subject, fixed), own


def parse_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """The name and values of a shared axis. Raises BadChoice for an unknown name.

    >>> parse_axis("learning_rate=0.001,0.0003")
    ('learning_rate', (0.001, 0.0003))
    """
    name, _, values = text.partition("=")
    if name != SHOWN and name not in TrainConfig.model_fields:
        raise BadChoice(
            f"got the axis {text!r}; expected {SHOWN} or an option of training, as in "
            "batch_size=64,256"
        )
    return name, axis(values)


def axis(text: str) -> tuple[Any, ...]:
    """The values of an axis from text, such as 1,2,5. Raises BadChoice for an empty or repeated
    value.
    """
    values = tuple(value_of(each.strip()) for each in text.split(","))
    if "" in values or len(set(map(str, values))) < len(values):
        raise BadChoice(
            f"got the axis {text!r}; expected different values separated by commas, as in 1,2,5"
        )
    return values


def recipes(count: int, *, shared: Axes, own: Axes, seed: int = 0) -> tuple[SearchedRecipe, ...]:
    """`count` recipes of the space; the first has the first value of every axis.

    >>> [each.changes["beta"] for each in recipes(5, shared={"dropout": (0.5, 0.25)}, own={"beta": (2, 5)})][:1]
    [2]
    >>> few, more = (recipes(9, shared={"dropout": (0.5, 0.25)}, own=own) for own in ({}, {"beta": (2, 5)}))
    >>> [each.changes["dropout"] for each in few] == [each.changes["dropout"] for each in more]
    True
    """
    columns = {
        name: _column(values, count, np.random.default_rng((seed, at)))
        for at, (name, values) in enumerate(shared.items())
    }
    for at, (name, values) in enumerate(own.items()):
        columns[name] = _column(values, count, np.random.default_rng((seed, len(shared) + at)))
    return tuple(
        SearchedRecipe(number, {name: column[number] for name, column in columns.items()})
        for number in range(count)
    )


def _column(values: Sequence[Any], count: int, generator: np.random.Generator) -> list[Any]:
    """The value of an axis in each recipe: the first value first, then each as often as the others,
    in random order.
    """
    repeated = np.tile(np.arange(len(values)), math.ceil(count / len(values)))[1:count]
    return [values[0], *(values[at] for at in generator.permutation(repeated))]
