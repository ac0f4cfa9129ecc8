"""The objective of training: one main term and any number of auxiliary terms, from a name such as
`dca` or `focal+dca`.

A name is one or more losses of the registry, joined by `+` in any order. At most one is a main term
(cross-entropy by default); the others are auxiliary terms, which add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.errors import BadLoss, UnknownName
from training.losses.findings import EachFinding, KnownLabels
from training.losses.main_terms import Mixup
from training.losses.registry import LOSSES
from training.losses.terms import LossSettings, Term

DEFAULT_MAIN = "ce"


@dataclass(frozen=True)
class Objective:
    """The sum of `terms`, the main one first, over logits (N, K) and labels (N,) or (N, K); those
    of images that `mixup` mixed are MixedLabels.
    """

    terms: tuple[Term, ...]
    mixup: Mixup | None = None

    def statistics(self, logits: Tensor, labels: Any) -> list[Tensor]:
        """Each term's statistics of one shard."""
        return [term.statistics(logits, labels) for term in self.terms]

    def merge(self, shards: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Each term's statistics of the whole batch."""
        return [
            term.merge(parts)
            for term, parts in zip(self.terms, zip(*shards, strict=True), strict=True)
        ]

    def share(self, logits: Tensor, labels: Any, statistics: Sequence[Tensor]) -> Tensor:
        """One shard's part of the objective."""
        shares = [
            term.share(logits, labels, part)
            for term, part in zip(self.terms, statistics, strict=True)
        ]
        return torch.stack(shares).sum()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The objective of a whole batch."""
        return torch.stack([term(logits, labels) for term in self.terms]).sum()


def build_objective(name: str, settings: LossSettings) -> Objective:
    """The objective of `name`, such as `focal+dca`. Raises UnknownName and BadLoss."""
    first, auxiliary = _terms(name, settings, settings.class_weights)
    return Objective((first, *auxiliary), first if isinstance(first, Mixup) else None)


def build_findings_objective(name: str, settings: LossSettings) -> Objective:
    """The same over the known labels of findings."""
    first, auxiliary = _terms(name, settings, None)
    known = KnownLabels(first, settings.class_weights)
    mixup = first if isinstance(first, Mixup) else None
    return Objective((known, *map(EachFinding, auxiliary)), mixup)


def _terms(name: str, settings: LossSettings, weights: Tensor | None) -> tuple[Any, list[Any]]:
    main, *others = _parts(name)
    options = _chosen_options((main, *others), settings)
    first = LOSSES[main].build(weights, **options[main])
    if isinstance(first, Mixup) and others:
        raise BadLoss(f"loss {name!r} mixes the images of other terms; use mixup alone")
    return first, [LOSSES[part].build(**options[part]) for part in others]


def loss_title(name: str) -> str:
    """The title of a loss in tables and plots. Raises UnknownName and BadLoss.

    >>> loss_title("dca"), loss_title("ce+dca"), loss_title("focal+dca")
    ('DCA', 'cross-entropy + DCA', 'focal + DCA')
    """
    main, *others = _parts(name)
    shown = [main, *others] if main in name.split("+") or not others else others
    return " + ".join(LOSSES[part].title for part in shown)


def strength(name: str, settings: LossSettings) -> float | None:
    """The beta of `name`, given or default; None if no part or several parts have one.

    Raises UnknownName and BadLoss, as building the objective would.

    >>> strength("dca", LossSettings()), strength("ce", LossSettings(beta=3.0))
    (10.0, None)
    """
    options = _chosen_options(_parts(name), settings)
    betas = [values["beta"] for values in options.values() if "beta" in values]
    return betas[0] if len(betas) == 1 else None


def _parts(name: str) -> tuple[str, ...]:
    """The parts of `name`, the main term first, named or default."""
    parts = tuple(part.strip() for part in name.split("+"))
    for part in parts:
        if part not in LOSSES:
            raise UnknownName("loss", part, tuple(LOSSES))
    if len(set(parts)) < len(parts):
        raise BadLoss(f"loss {name!r} names a part twice; name each part once")
    mains = tuple(part for part in parts if LOSSES[part].role == "main") or (DEFAULT_MAIN,)
    if len(mains) > 1:
        raise BadLoss(f"loss {name!r} has {len(mains)} main terms ({', '.join(mains)}); keep one")
    return mains + tuple(part for part in parts if part not in mains)


def _chosen_options(parts: tuple[str, ...], settings: LossSettings) -> dict[str, dict[str, float]]:
    """The value of every option of every part, from the settings or its default."""
    chosen = {
        part: {key: option.default for key, option in LOSSES[part].options.items()}
        for part in parts
    }
    given = dict(settings.options)
    takes_beta = any("beta" in options for options in chosen.values())
    if settings.beta is not None and takes_beta:
        given.setdefault("beta", settings.beta)
    for key, value in given.items():
        part, option = _owner(key, chosen)
        limits = LOSSES[part].options[option]
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
            f"option {key!r} belongs to {' and '.join(owners)}; write {owners[0]}.{option} for one "
            "of them"
        )
    known = [f"{name}.{option}" for name, options in chosen.items() for option in options]
    raise BadLoss(
        f"unknown option {key!r} of loss {'+'.join(chosen)}; known: {', '.join(known) or 'none'}"
    )
