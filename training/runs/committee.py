"""Several networks that answer with their mean, each trained by `fit`: on one split, or on folds.

A blend is a pooled head and a logistic regression. What is not a committee has one member.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.evaluation.predictions import EVALUATED, EvaluatedSplit, Predictions
from training.fitting.examples import Examples
from training.fitting.logistic import fit_logistic
from training.networks.backbones import Trunk
from training.networks.classifier import Classifier, draw_trunk, head_seeds, joined
from training.networks.heads import BlendedHead
from training.progress import Progress, silent
from training.runs.config import RunRecord, TrainConfig, build_network
from training.runs.folds import draw_folds, pooled_groups
from training.runs.steps import HEAD_THREADS, AllExamples, Features, Model, fit, predict, threads
from training.runs.task import task_of


def fit_committee(
    features: Features,
    config: TrainConfig,
    *,
    snapshot: Callable[[str], Path] | None = None,
    stage: str = "",
    progress: Progress = silent,
) -> Model:
    """Train the members of `config` one after the other, each on its share of the images.

    `snapshot` returns the snapshot file of each fit. Raises what `fit` raises, and BadRun.
    """
    models: list[Model] = []
    for number, (member, share) in enumerate(_shares(features, config)):
        several = f"head {number + 1} of {config.heads}, " if config.heads > 1 else ""
        train = _fit_blend if config.head == "blend" else fit
        models.append(
            train(
                share,
                member,
                snapshot=snapshot and snapshot(f"head-{number}"),
                stage=stage + several,
                progress=progress,
            )
        )
    network = joined([each.network for each in models], mean=task_of(features.dataset).mean)
    numbered = [
        replace(epoch, head=number) for number, each in enumerate(models) for epoch in each.history
    ]
    return Model(config, network, numbered)


def predict_committee(
    model: Model, features: Features, splits: Sequence[EvaluatedSplit] = EVALUATED
) -> dict[EvaluatedSplit, Predictions]:
    """Logits and labels of each split. With folds, validation is all images of train and val, each
    answered by the network that has not seen it.
    """
    if model.config.validation == "split" or "val" not in splits:
        return predict(model, features, splits)
    rest: list[EvaluatedSplit] = [each for each in splits if each != "val"]
    return {"val": _out_of_fold(model, features), **predict(model, features, rest)}


def untrained(record: RunRecord, trunk: Trunk) -> Classifier:
    """The network of a run before training."""
    count = len(record.classes)
    networks = [
        build_network(member, trunk, record.spec, classes=count)
        for member in _members(record.config)
    ]
    return joined(networks, mean=task_of(record).mean)


def _members(config: TrainConfig) -> list[TrainConfig]:
    """The choices of each network alone."""
    alone = config.model_copy(update={"heads": 1, "validation": "split"})
    return [
        alone.model_copy(update={"seed": seed}) for seed in head_seeds(config.seed, config.heads)
    ]


def _shares(features: Features, config: TrainConfig) -> Iterator[tuple[TrainConfig, Features]]:
    """Each member, and what it learns from and is validated on."""
    members = _members(config)
    if config.validation == "folds":
        yield from zip(members, _folded(features, config), strict=True)
        return
    for number, member in enumerate(members):
        trunk = features.trunk
        if number and not config.frozen and config.weights == "none":
            trunk = draw_trunk(config.backbone, "none", seed=member.seed)
        yield member, replace(features, trunk=trunk)


def _folded(features: Features, config: TrainConfig) -> Iterator[Features]:
    """The features for each fold: the images outside it are train, those inside are val."""
    known = features.examples(config)
    pool = _pooled(known["train"], known["val"])
    for fold in draw_folds(features.dataset, config.heads, seed=config.seed):
        rest = np.setdiff1d(np.arange(len(pool)), fold)
        own: AllExamples = {"train": pool.chosen(rest), "val": pool.chosen(fold)}
        yield replace(features, whole={**known, **own})


def _pooled(train: Examples, val: Examples) -> Examples:
    """Training and then validation examples as one, in memory."""
    inputs = np.concatenate([np.asarray(each.inputs) for each in (train, val)])
    return Examples(inputs, np.concatenate([train.labels, val.labels]))


def _out_of_fold(model: Model, features: Features) -> Predictions:
    dataset, config = features.dataset, model.config
    folds = draw_folds(dataset, config.heads, seed=config.seed)
    labels = np.concatenate([dataset.splits[name].labels for name in ("train", "val")])
    logits = np.empty((len(labels), len(dataset.classes)), np.float32)
    heads = model.network.members
    for fold, head, (member, share) in zip(folds, heads, _shares(features, config), strict=True):
        own = Model(member, Classifier(model.network.backbone, head), [])
        logits[fold] = predict(own, share, ("val",))["val"].logits
    return Predictions(logits, labels, pooled_groups(dataset))


def _fit_blend(
    features: Features,
    config: TrainConfig,
    *,
    snapshot: Path | None,
    stage: str,
    progress: Progress,
) -> Model:
    """A pooled head and a logistic regression, both with balanced class weights."""
    balanced = config.model_copy(update={"head": "pooled", "class_weights": "balanced"})
    pooled = fit(features, balanced, snapshot=snapshot, stage=stage, progress=progress)
    train, classes = features.examples(config)["train"], len(features.dataset.classes)
    with threads(HEAD_THREADS):
        linear = fit_logistic(*train.batch(np.arange(len(train))), classes=classes)
    head = BlendedHead(pooled.network.head, linear.to(features.device))
    return Model(config, Classifier(pooled.network.backbone, head), pooled.history)
