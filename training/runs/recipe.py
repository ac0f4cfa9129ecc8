"""The recipe `auto`: choices that suit the data, in place of those that the user did not make.

What a fixed recipe gets wrong on other data is the number of steps. Twelve epochs of batches of 64
are 880 steps on 4700 images, and 48 on 225, after which a head has hardly begun to learn and says
the largest class. The rules follow the number of images and their imbalance; what they cannot know
is left to a short search on validation (search.py).
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from training.datasets import Dataset
from training.networks.backbones import SMALL
from training.runs.config import TrainConfig

MIN_STEPS = 400
FEW = (
    1000  # training images below which the paper's head, with its millions of weights, is not tried
)
MANY = 5000  # and above which it is the only one
IMBALANCED = 5.0  # largest class / smallest class, from which balanced weights are tried too
POOLED_RATES = (
    3e-4,
    1e-3,
)  # learning rates of the pooled head; the second from SECOND_RATE training images
SECOND_RATE = 500
POOLED_HEADS = 3  # their mean depends less on the seed, and choosing between candidates on chance
BASELINE = "ce"  # the loss that is tried beside the default one


@dataclass(frozen=True)
class TrainingPlan:
    """Candidates, of which training keeps the one that does best on validation, and why they are
    these.
    """

    candidates: tuple[TrainConfig, ...]
    reasons: tuple[str, ...] = ()


def automatic(
    dataset: Dataset, config: TrainConfig | None = None, *, given: Collection[str] = ()
) -> TrainingPlan:
    """Plan a run on `dataset`; `given` names the fields of `config` that the user chose, which all
    candidates keep.
    """
    rules = _Rules(dataset, config or TrainConfig(), frozenset(given))
    base = rules.with_steps()
    options = [rules.free(option) for option in rules.options()] if rules.searches else [{}]
    distinct = [option for at, option in enumerate(options) if option not in options[:at]]
    candidates = tuple(
        TrainConfig.model_validate(base.model_dump() | option) for option in distinct
    )
    return TrainingPlan(candidates, tuple(rules.reasons(candidates)))


def chooses_loss(given: Collection[str]) -> bool:
    """Whether the loss is chosen on validation: unless the user chose it or one of its options."""
    return not {"loss", "beta", "loss_options"} & set(given)


@dataclass(frozen=True)
class _Rules:
    dataset: Dataset
    config: TrainConfig
    given: frozenset[str]

    @cached_property
    def counts(self) -> list[int]:
        """Training images by class."""
        return self.dataset.counts["train"]

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(sum(self.counts) / self.config.batch_size)

    @property
    def imbalance(self) -> float:
        return max(self.counts) / max(min(self.counts), 1)

    @property
    def searches(self) -> bool:
        """Whether features are computed once, so that a candidate costs little, and are worth
        pooling.
        """
        return self.config.cached and self.config.backbone != SMALL

    def with_steps(self) -> TrainConfig:
        """The configuration with epochs enough, of which the best is kept."""
        chosen: dict[str, Any] = {
            "epochs": max(self.config.epochs, math.ceil(MIN_STEPS / self.steps_per_epoch))
        }
        chosen["select"] = "val_nll"
        return TrainConfig.model_validate(self.config.model_dump() | self.free(chosen))

    def options(self) -> Iterator[dict[str, Any]]:
        """The choices of each candidate."""
        losses = (self.config.loss, BASELINE) if chooses_loss(self.given) else (self.config.loss,)
        images = sum(self.counts)
        rates = POOLED_RATES if images >= SECOND_RATE else POOLED_RATES[:1]
        trained = [
            {"head": "pooled", "heads": POOLED_HEADS, "learning_rate": rate} for rate in rates
        ]
        trained = [
            *(trained if images <= MANY else ()),
            *([{"head": "paper"}] if images >= FEW else ()),
        ]
        for option in trained:
            yield from ({"loss": loss} | option for loss in losses)
        if self.imbalance >= IMBALANCED and not self.config.balances:
            yield {"loss": losses[-1], "class_weights": "balanced"} | trained[0]

    def free(self, option: dict[str, Any]) -> dict[str, Any]:
        """The choices of `option` that the user has not made."""
        return {name: value for name, value in option.items() if name not in self.given}

    def reasons(self, candidates: tuple[TrainConfig, ...]) -> Iterator[str]:
        """Sentences for the user."""
        images, epochs = sum(self.counts), candidates[0].epochs
        if epochs != self.config.epochs:
            yield (
                f"{epochs} epochs, not {self.config.epochs}: a head needs {MIN_STEPS} steps, and "
                f"{images} training "
                f"images in batches of {self.config.batch_size} are {self.steps_per_epoch} an epoch"
            )
        if "select" not in self.given:
            yield "the epoch with the lowest cross-entropy on validation is kept"
        if len(candidates) > 1:
            yield f"{len(candidates)} candidates are trained, and the best on validation is kept"
        if any(each.class_weights != self.config.class_weights for each in candidates):
            yield (
                f"the largest class has {self.imbalance:.0f} times the images of the smallest, so "
                "balanced class "
                "weights are tried too, and kept if no other candidate answers every class"
            )
