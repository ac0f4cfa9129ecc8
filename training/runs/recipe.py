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
from functools import partial
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
    config = config or TrainConfig()
    # Features are computed once, so candidates are cheap, and are worth pooling.
    is_searched = config.cached and config.backbone != SMALL
    is_folded = is_searched and _folds(dataset, config, given)
    steps = math.ceil(len(dataset.splits["train"]) / config.batch_size)  # per epoch
    base = {"epochs": max(config.epochs, math.ceil(MIN_STEPS / steps)), "select": "val_nll"}
    options = list(_options(dataset, config, given, folded=is_folded)) if is_searched else [{}]
    tried = [
        TrainConfig.model_validate(
            config.model_dump()
            | {name: each for name, each in (base | option).items() if name not in given}
        )
        for option in options
    ]
    candidates = tuple(each for place, each in enumerate(tried) if each not in tried[:place])
    return TrainingPlan(candidates, tuple(_reasons(dataset, config, given, candidates)))


def chooses_loss(given: Collection[str]) -> bool:
    """Whether the loss is chosen on validation: unless the user chose it or one of its options."""
    return not {"loss", "beta", "loss_options"} & set(given)


def _folds(dataset: Dataset, config: TrainConfig, given: Collection[str]) -> bool:
    """Whether there are so few images that each has to validate once."""
    if "validation" in given:
        return config.validation == "folds"
    heads = config.heads if "heads" in given else FOLDS
    if heads < 2 or len(dataset.splits["train"]) + len(dataset.splits["val"]) >= FEW_IMAGES:
        return False
    return len(np.unique(units(dataset))) >= 2 * heads


def _options(
    dataset: Dataset, config: TrainConfig, given: Collection[str], *, folded: bool
) -> Iterator[dict[str, Any]]:
    """The choices of each candidate."""
    losses = (config.loss, BASELINE) if chooses_loss(given) else (config.loss,)
    images = len(dataset.splits["train"])
    heads: list[dict[str, Any]] = []
    if images <= MANY:
        kind = dataset.kind.folded_head if folded else "pooled"
        rates = POOLED_RATES if images >= SECOND_RATE else POOLED_RATES[:1]
        heads += [{"head": kind, "heads": POOLED_HEADS, "learning_rate": rate} for rate in rates]
    if images >= FEW:
        heads.append({"head": "paper"})
    if folded:
        heads = [head | {"validation": "folds", "heads": FOLDS} for head in heads]
    yield from ({"loss": loss} | head for head in heads for loss in losses)
    is_weighted = folded or config.class_weights == "balanced"
    if _imbalance(dataset) >= IMBALANCED and not is_weighted:
        yield {"loss": losses[-1], "class_weights": "balanced"} | heads[0]


def _imbalance(dataset: Dataset) -> float:
    """Of exclusive classes; findings do not take images from each other."""
    return dataset.kind.imbalance(dataset.counts["train"])


def _reasons(
    dataset: Dataset,
    config: TrainConfig,
    given: Collection[str],
    candidates: Sequence[TrainConfig],
) -> Iterator[str]:
    """Sentences for the user."""
    first, images = candidates[0], len(dataset.splits["train"])
    if first.epochs != config.epochs:
        yield (
            f"{first.epochs} epochs, not {config.epochs}: a head needs {MIN_STEPS} steps, and "
            f"{images} training images in batches of {config.batch_size} are "
            f"{math.ceil(images / config.batch_size)} an epoch"
        )
    if first.validation == "folds":
        yield (
            f"each of the {images + len(dataset.splits['val'])} training and validation images "
            f"validates once: each of {first.heads} networks leaves out another part, patients "
            "kept together; epoch, temperature and thresholds come from these answers, and the "
            "model answers with the mean of its networks"
        )
    if first.head == "blend" and "head" not in given:
        yield (
            "each network is a mean of two heads that give all classes the same weight, so that "
            "rare ones are found"
        )
    if "select" not in given:
        yield "the epoch with the lowest cross-entropy on validation is kept"
    if len(candidates) > 1:
        yield f"{len(candidates)} candidates are trained, and the best on validation is kept"
    if any(each.class_weights != config.class_weights for each in candidates):
        yield (
            f"the largest class has {_imbalance(dataset):.0f} times the images of the smallest, "
            "so balanced class weights are tried too, and kept if they have the lowest "
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
    models: dict[int, Model] = {}
    scores: list[CandidateScore] = []
    failure: TrainingDiverged | None = None
    for number, config in enumerate(candidates):
        choices = differing(config, candidates)
        try:
            models[number] = fit_committee(
                features,
                config,
                snapshot=partial(_of_candidate, snapshot, number),
                stage=f"candidate {number + 1} of {len(candidates)}, ",
                progress=progress,
            )
        except TrainingDiverged as error:
            failure = error
            scores.append(CandidateScore(choices=choices, val_nll=None, val_accuracy=None))
        else:
            scores.append(_score(models[number], features, choices))
    if failure is not None and not models:
        raise failure
    best = min(models, key=lambda number: scores[number].val_nll or 0.0)
    scores[best] = scores[best].model_copy(update={"chosen": True})
    return models[best], tuple(scores)


def _of_candidate(snapshot: Callable[[str], Path], number: int, name: str) -> Path:
    return snapshot(f"candidate-{number}-{name}")


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
