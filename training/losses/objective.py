"""The objective of training: one main term and any number of auxiliary terms, from a name such as
`dca` or `focal+dca`.

A name is one or more losses of the registry, joined by `+` in any order. At most one is a main term
(cross-entropy by default); the others are auxiliary terms, which add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.errors import BadLoss, UnknownName
from training.losses.terms import LossSettings, Recipe, Term

Registry = Mapping[str, Recipe]
DEFAULT_MAIN = "ce"


@dataclass(frozen=True)
class Objective:
    """The sum of `terms`, the main one first, over `logits` (N, K) and `labels` int64 (N,)."""

    terms: tuple[Term, ...]

    def statistics(self, logits: Tensor, labels: Tensor) -> list[Tensor]:
        """Each term's statistics of one shard."""
        return [term.statistics(logits, labels) for term in self.terms]

    def merge(self, shards: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Each term's statistics of the whole batch."""
        return [
            term.merge(parts)
            for term, parts in zip(self.terms, zip(*shards, strict=True), strict=True)
        ]

    def share(self, logits: Tensor, labels: Tensor, statistics: Sequence[Tensor]) -> Tensor:
        """One shard's part of the objective."""
        shares = [
            term.share(logits, labels, part)
            for term, part in zip(self.terms, statistics, strict=True)
        ]
        return torch.stack(shares).sum()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The objective of a whole batch."""
        return torch.stack([term(logits, labels) for term in self.terms]).sum()


def compose(name: str, settings: LossSettings, registry: Registry) -> Objective:
    """The objective of `name`. Raises UnknownName and BadLoss."""
    main, *others = split_name(name, registry)
    options = chosen_options((main, *others), settings, registry)
    return Objective(
        (
            registry[main].build(settings.class_weights, **options[main]),
            *(registry[part].build(**options[part]) for part in others),
        )
    )


def split_name(name: str, registry: Registry) -> tuple[str, ...]:
    """The parts of `name`, the main term first, named or default. Raises as `compose`."""
    parts = tuple(part.strip() for part in name.split("+"))
    for part in parts:
        if part not in registry:
            raise UnknownName("loss", part, tuple(registry))
    if len(set(parts)) < len(parts):
        raise BadLoss(f"loss {name!r} names a part twice; name each part once")
    mains = tuple(part for part in parts if registry[part].role == "main") or (DEFAULT_MAIN,)
    if len(mains) > 1:
        raise BadLoss(f"loss {name!r} has {len(mains)} main terms ({', '.join(mains)}); keep one")
    return mains + tuple(part for part in parts if part not in mains)


def title(name: str, registry: Registry) -> str:
    """The titles of the named parts, joined by +. Raises as `compose`."""
    main, *others = split_name(name, registry)
    shown = [main, *others] if main in name.split("+") or not others else others
    return " + ".join(registry[part].title for part in shown)


def chosen_options(
    parts: tuple[str, ...], settings: LossSettings, registry: Registry
) -> dict[str, dict[str, float]]:
    """The value of every option of every part, from the settings or its default. Raises BadLoss."""
    chosen = {
        part: {key: option.default for key, option in registry[part].options.items()}
        for part in parts
    }
    given = dict(settings.options)
    takes_beta = any("beta" in options for options in chosen.values())
    if settings.beta is not None and takes_beta:
        given.setdefault("beta", settings.beta)
    for key, value in given.items():
        part, option = _owner(key, chosen)
        limits = registry[part].options[option]
        if not limits.accepts(value):
            raise BadLoss(
                f"option {option} of loss {part} is {value}; expected {limits.low:g} to "
                f"{limits.high:g}"
            )
        chosen[part][option] = float(value)
    return chosen


def _owner(key: str, chosen: Mapping[str, Mapping[str, float]]) -> tuple[str, str]:
    """The part and option of `key`, such as `gamma` or `focal.gamma`."""
    part, _, option = key.rpartition(".")
    owners = [name for name, options in chosen.items() if option in options and part in ("", name)]
    if len(owners) == 1:
        return owners[0], option
    if owners:
        raise BadLoss(
            f"option {key!r} belongs to {' and '.join(owners)}; write {owners[0]}.{option} for "
            "one of them"
        )
    known = [f"{name}.{option}" for name, options in chosen.items() for option in options]
    raise BadLoss(
        f"unknown option {key!r} of loss {'+'.join(chosen)}; known: {', '.join(known) or 'none'}"
    )
