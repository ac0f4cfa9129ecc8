"""The recipe `auto`: choices that suit the data, in place of those that the user did not make.

What a fixed recipe gets wrong on other data is the number of steps. Twelve epochs of batches of 64
are 880 steps on 4700 images, and 48 on 225, after which a head has hardly begun to learn and says
the largest class. The rules follow the number of images and their imbalance; what they cannot know
is left to a short search on validation.

Candidates share the backbone and its cached features and differ in what is trained on them. Each is
a fit with snapshots of its own, so an interrupted search resumes like any run, to the bit. The best
candidate has the lowest cross-entropy on validation after a temperature fitted there. That measure
does not jump by whole images, as accuracy does, and does not depend on the loss that was minimized.
Where every image validates once, cross-entropy hardly sees rare classes. There, each network is a
mean of two heads with balanced class weights (`BlendedHead`).
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets import Dataset
from training.errors import TrainingDiverged
from training.networks.backbones import SMALL
from training.progress import Progress, silent
from training.runs.committee import fit_committee, predict_committee
from training.runs.config import CandidateScore, TrainConfig
from training.runs.folds import FEW_IMAGES, FOLDS, units
from training.runs.steps import Features, Model
from training.runs.task import task_of

MIN_STEPS = 400
# Training images below which the paper's head, with its millions of weights, is not tried, and
# above which it is the only one.
FEW, MANY = 1000, 5000
IMBALANCED = 5.0  # largest class / smallest class, from which balanced weights are tried too
# Learning rates of the pooled head; the second from SECOND_RATE training images.
POOLED_RATES, SECOND_RATE = (3e-4, 1e-3), 500
POOLED_HEADS = 3  # their mean depends less on the seed, and choosing between candidates on chance
BASELINE = "ce"  # the loss that is tried beside the default one


@dataclass(frozen=True)
class TrainingPlan:
    """Candidates, of which the best on validation is kept, and why they are these."""

    candidates: tuple[TrainConfig, ...]
    reasons: tuple[str, ...] = ()


def automatic(
    dataset: Dataset, config: TrainConfig | None = None, *, given: Collection[str] = ()
) -> TrainingPlan:
    """Plan a run on `dataset`; all candidates keep the fields of `config` that were `given`."""
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
        return math.ceil(self.images / self.config.batch_size)

    @property
    def images(self) -> int:
        return len(self.dataset.splits["train"])

    @property
    def imbalance(self) -> float:
        """Of exclusive classes; findings do not take images from each other."""
        return self.dataset.kind.imbalance(self.counts)

    @property
    def searches(self) -> bool:
        """Whether features are computed once, so candidates are cheap, and are worth pooling."""
        return self.config.cached and self.config.backbone != SMALL

    @cached_property
    def folded(self) -> bool:
        """Whether there are so few images that each has to validate once."""
        if "validation" in self.given:
            return self.config.validation == "folds"
        heads = self.config.heads if "heads" in self.given else FOLDS
        if not self.searches or heads < 2:
            return False
        if self.images + len(self.dataset.splits["val"]) >= FEW_IMAGES:
            return False
        return len(np.unique(units(self.dataset))) >= 2 * heads

    def with_steps(self) -> TrainConfig:
        """The configuration with epochs enough, of which the best is kept."""
        epochs = max(self.config.epochs, math.ceil(MIN_STEPS / self.steps_per_epoch))
        chosen: dict[str, Any] = {"epochs": epochs, "select": "val_nll"}
        if self.folded:
            chosen |= {"validation": "folds", "heads": FOLDS}
        return TrainConfig.model_validate(self.config.model_dump() | self.free(chosen))

    def options(self) -> Iterator[dict[str, Any]]:
        """The choices of each candidate."""
        losses = (self.config.loss, BASELINE) if chooses_loss(self.given) else (self.config.loss,)
        images = self.images
        rates = POOLED_RATES if images >= SECOND_RATE else POOLED_RATES[:1]
        trained: list[dict[str, Any]] = []
        if images <= MANY:
            kind = self.dataset.kind.folded_head if self.folded else "pooled"
            head = {"head": kind, "heads": POOLED_HEADS}
            trained += [head | {"learning_rate": rate} for rate in rates]
        if images >= FEW:
            trained.append({"head": "paper"})
        if self.folded:
            trained = [option | {"heads": FOLDS} for option in trained]
        for option in trained:
            yield from ({"loss": loss} | option for loss in losses)
        weighted = self.folded or self.config.class_weights == "balanced"
        if self.imbalance >= IMBALANCED and not weighted:
            yield {"loss": losses[-1], "class_weights": "balanced"} | trained[0]

    def free(self, option: dict[str, Any]) -> dict[str, Any]:
        """The choices of `option` that the user has not made."""
        return {name: value for name, value in option.items() if name not in self.given}

    def reasons(self, candidates: tuple[TrainConfig, ...]) -> Iterator[str]:
        """Sentences for the user."""
        images, epochs = self.images, candidates[0].epochs
        if epochs != self.config.epochs:
            yield (
                f"{epochs} epochs, not {self.config.epochs}: a head needs {MIN_STEPS} steps, and "
                f"{images} training images in batches of {self.config.batch_size} are "
                f"{self.steps_per_epoch} an epoch"
            )
        if candidates[0].validation == "folds":
            images += len(self.dataset.splits["val"])
            yield (
                f"each of the {images} training and validation images validates once: each of "
                f"{candidates[0].heads} networks leaves out another part, patients kept together; "
                "epoch, temperature and thresholds come from these answers, and the model answers "
                "with the mean of its networks"
            )
        if candidates[0].head == "blend" and "head" not in self.given:
            yield (
                "each network is a mean of two heads that give all classes the same weight, so "
                "that rare ones are found"
            )
        if "select" not in self.given:
            yield "the epoch with the lowest cross-entropy on validation is kept"
        if len(candidates) > 1:
            yield f"{len(candidates)} candidates are trained, and the best on validation is kept"
        if any(each.class_weights != self.config.class_weights for each in candidates):
            yield (
                f"the largest class has {self.imbalance:.0f} times the images of the smallest, so "
                "balanced class weights are tried too, and kept if they have the lowest "
                "cross-entropy"
            )


def search(
    features: Features,
    candidates: Sequence[TrainConfig],
    *,
    snapshot: Callable[[str], Path],
    progress: Progress = silent,
) -> tuple[Model, tuple[CandidateScore, ...]]:
    """Train all `candidates`; return the one with the lowest cross-entropy on validation, the first
    of equals, and the scores of all; a single one has none.

    A candidate that diverges is out; if all do, TrainingDiverged is raised.
    """
    if len(candidates) == 1:
        model = fit_committee(features, candidates[0], snapshot=snapshot, progress=progress)
        return model, ()
    models: list[Model | None] = []
    scores: list[CandidateScore] = []
    diverged: TrainingDiverged | None = None
    for number, config in enumerate(candidates):
        choices = differing(config, candidates)
        try:
            model = fit_committee(
                features,
                config,
                snapshot=_of_candidate(number, snapshot),
                stage=f"candidate {number + 1} of {len(candidates)}, ",
                progress=progress,
            )
        except TrainingDiverged as error:
            diverged = error
            models.append(None)
            scores.append(CandidateScore(choices=choices, val_nll=None, val_accuracy=None))
            continue
        models.append(model)
        scores.append(_score(model, features, choices))
    best = min(range(len(scores)), key=lambda number: _nll(scores[number]))
    kept = models[best]
    if kept is None:
        raise diverged or ValueError("a search needs a candidate")
    return kept, tuple(
        each.model_copy(update={"chosen": number == best}) for number, each in enumerate(scores)
    )


def _of_candidate(number: int, snapshot: Callable[[str], Path]) -> Callable[[str], Path]:
    return lambda name: snapshot(f"candidate-{number}-{name}")


def _nll(score: CandidateScore) -> float:
    return math.inf if score.val_nll is None else score.val_nll


def differing(config: TrainConfig, candidates: Sequence[TrainConfig]) -> dict[str, str | float]:
    """The choices of `config` that are not the same in all candidates."""
    all_choices = [candidate.model_dump(mode="json") for candidate in candidates]
    return {
        name: value
        for name, value in config.model_dump(mode="json").items()
        if any(choices[name] != value for choices in all_choices)
    }


def _score(model: Model, features: Features, choices: dict[str, str | float]) -> CandidateScore:
    known, dataset = predict_committee(model, features, ("val",))["val"], features.dataset
    return task_of(dataset).score(dataset.classes, known, choices)
