"""A run is four functions, which a notebook calls as readily as `candor train` does.

    features = prepare(dataset, config)         what the heads learn from, computed once
    model = fit(features, config)               one head or several, each on its share of the images
    predictions = predict(model, features)      logits and labels of validation and test
    report = evaluate(predictions, dataset.classes)

What trains more than one model calls them: the search over candidates (`training.runs.recipe`), the
command (`training.runs.run`) and experiments.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.image import InputSpec
from training.datasets import Dataset, SplitName
from training.evaluation.evaluation import Evaluation
from training.evaluation.findings import FindingsEvaluation
from training.evaluation.predictions import EVALUATED, EvaluatedSplit, Predictions
from training.features.augmentation import Augmentation
from training.features.cache import FeatureCache
from training.features.inputs import StreamedImages
from training.fitting.examples import Examples
from training.fitting.examples import predict as logits_of
from training.fitting.fit import Watch
from training.fitting.fit import fit as fit_module
from training.fitting.history import Epoch
from training.fitting.logistic import fit_logistic
from training.fitting.snapshot import SnapshotFile
from training.losses import Objective
from training.networks.backbones import Trunk
from training.networks.classifier import Classifier, draw_trunk, head_seeds
from training.networks.heads import BlendedHead
from training.processes.distributed import Group
from training.processes.execution import Execution, find_device, leader_first
from training.progress import Progress, silent
from training.runs.config import TrainConfig, build_network
from training.runs.folds import divided, draw_folds, pooled_examples, pooled_split
from training.runs.task import task_of

# A head's steps take milliseconds. Two threads gain little, and under other load they wait for each
# other ten times as long as they compute. One thread also gives bitwise equal results for any
# number of cores.
HEAD_THREADS = 1
AllExamples = Mapping[SplitName, Examples]


@dataclass(frozen=True)
class Features:
    """What heads learn from: features of a frozen backbone, or the images if all of it is trained.

    Attributes:
        trunk: the backbone as it was loaded; fits of the whole network train copies of it.
        whole: feature maps, or images, by split, as the paper's head takes them.
        streamed: images pass through the network in each epoch, so nothing is kept.
        device: where the heads are trained, by the processes of `group`.
    """

    dataset: Dataset
    spec: InputSpec
    trunk: Trunk
    whole: AllExamples
    streamed: bool
    group: Group
    device: torch.device

    @cached_property
    def means(self) -> AllExamples:
        """The means of the maps, all that other heads than the paper's need."""
        return {name: each.pooled() for name, each in self.whole.items()}

    def examples(self, config: TrainConfig) -> dict[SplitName, Examples]:
        """As the head of `config` takes them. With folds, train and val are all images of both."""
        is_pooled = not self.streamed and config.head != "paper"
        known = dict(self.means if is_pooled else self.whole)
        if config.validation == "folds":
            known["train"] = known["val"] = pooled_examples(known["train"], known["val"])
        return known

    def network(self, config: TrainConfig) -> Classifier:
        """The network of `config` on this backbone, before training."""
        network = build_network(
            config,
            self.trunk,
            self.spec,
            classes=len(self.dataset.classes),
            mean=task_of(self.dataset).mean,
        )
        return network.to(self.device)

    def module(self, network: Classifier, part: nn.Module) -> nn.Module:
        """`part`, a member or the whole head of `network`, from the examples to its logits."""
        return nn.Sequential(network.backbone, part) if self.streamed else part

    def execution(self, config: TrainConfig) -> Execution:
        return Execution(self.group, self.device, config.micro_batch, config.amp)


@dataclass(frozen=True)
class Model:
    """A trained network, the choices that it was trained by, and its epochs."""

    config: TrainConfig
    network: Classifier
    history: list[Epoch]


def prepare(
    dataset: Dataset,
    config: TrainConfig,
    *,
    cache: Path | None = None,
    group: Group | None = None,
    progress: Progress = silent,
) -> Features:
    """Load the backbone of `config` and compute its features of all images.

    `cache` keeps frozen features between runs. `group` are the processes that share the work.

    Raises WeightsNotFound, BadWeights, UnknownName, BadBackbone, DeviceNotFound.
    """
    if config.weights == "hub":  # a long silence otherwise, if there is no network
        progress("weights from the hub", 0, 1)
    group = group or Group.alone()
    spec, device = config.input_spec(dataset), find_device(config.device, group)
    trunk = draw_trunk(config.backbone, config.weights, seed=config.seed)
    features = Features(dataset, spec, trunk, {}, not config.cached, group, device)
    if features.streamed:
        return replace(features, whole=_images(dataset, spec, config.augment))
    with TemporaryDirectory(prefix="candor-features-") as folder:  # readable as long as mapped
        kept = FeatureCache(
            cache or Path(folder),
            dataset=dataset,
            backbone_name=config.backbone,
            backbone=features.network(config).backbone,
            spec=spec,
        )
        maps = {
            name: leader_first(group, partial(kept.read, name, progress=progress))
            for name in dataset.splits
        }
    labels = {name: split.labels for name, split in dataset.splits.items()}
    whole = {name: Examples(maps[name], labels[name]) for name in maps}
    return replace(features, whole=whole)


def _images(dataset: Dataset, spec: InputSpec, augment: str | None) -> dict[SplitName, Examples]:
    """Images that are read when they are needed; those of train change with every epoch."""
    examples = {
        name: Examples(StreamedImages(split, spec), split.labels, streamed=True)
        for name, split in dataset.splits.items()
    }
    if augment:
        examples["train"] = replace(examples["train"], augmentation=Augmentation(augment))
    return examples


def fit(
    features: Features,
    config: TrainConfig,
    *,
    snapshot: Callable[[str], Path] | None = None,
    watch: Watch | None = None,
    stage: str = "",
    progress: Progress = silent,
) -> Model:
    """Draw the heads of `config` and train them, one after the other.

    `snapshot` returns the snapshot file of each fit, from which it resumes; without it nothing is
    written. `watch` is called with each finished epoch and the module. `stage` stands before the
    name of the stage "train LOSS".

    Raises UnknownName, BadLoss, BadRun, TrainingDiverged.
    """
    network, history = features.network(config), list[Epoch]()
    members = zip(network.members, _shares(features, config), strict=True)
    for number, (member, (train, val)) in enumerate(members):
        part, weights = features.module(network, member), config.class_weights
        if isinstance(part, BlendedHead):
            with _threads(HEAD_THREADS):
                fit_logistic(part.linear, *train.batch(np.arange(len(train))))
            part, weights = part.pooled, "balanced"
        several = f", head {number + 1} of {config.heads}" if config.heads > 1 else ""
        with _threads(torch.get_num_threads() if features.streamed else HEAD_THREADS):
            history += fit_module(
                part,
                train,
                val,
                objective=_objective(features.dataset, config, weights),
                schedule=config.schedule,
                seed=head_seeds(config.seed, config.heads)[number],
                head=number,
                execution=features.execution(config),
                snapshots=snapshot and SnapshotFile(snapshot(f"head-{number}"), features.group),
                watch=watch,
                stage=f"{stage}train {config.loss}{several}",
                progress=progress,
            )
    given = class_weights(features.dataset, config.class_weights)
    shift = None if given is None else task_of(features.dataset).shift(given)
    if shift is not None:
        network.shift(shift)
    return Model(config, network, history)


def predict(
    model: Model, features: Features, splits: Sequence[EvaluatedSplit] = EVALUATED
) -> dict[EvaluatedSplit, Predictions]:
    """Logits and labels of each split; with folds, those of validation are out of fold."""
    return {split: _predictions(model, features, split) for split in splits}


def evaluate(
    predictions: Mapping[EvaluatedSplit, Predictions], classes: Sequence[str]
) -> Evaluation | FindingsEvaluation:
    """Fit calibrators on validation and measure all splits; labels (N, K) are findings."""
    return task_of(predictions["val"]).evaluate(classes, predictions)


def class_weights(dataset: Dataset, kind: str) -> Tensor | None:
    """Balanced weights of the training labels, or None."""
    if kind != "balanced":
        return None
    labels = torch.from_numpy(dataset.splits["train"].labels)
    return task_of(dataset).weights(labels, len(dataset.classes))


def _objective(dataset: Dataset, config: TrainConfig, weights: str) -> Objective:
    """The objective of one fit; each needs a new one, since some terms keep state."""
    settings = replace(config.loss_settings, class_weights=class_weights(dataset, weights))
    return task_of(dataset).objective(config.loss, settings)


def _shares(features: Features, config: TrainConfig) -> Iterator[tuple[Examples, Examples]]:
    """What each member learns from, and what it is validated on."""
    known = features.examples(config)
    if config.validation == "folds":
        for fold in draw_folds(features.dataset, config.heads, seed=config.seed):
            yield divided(known["train"], fold)
    else:
        yield from [(known["train"], known["val"])] * config.heads


def _predictions(model: Model, features: Features, split: EvaluatedSplit) -> Predictions:
    known, dataset = features.examples(model.config)[split], features.dataset
    if split == "val" and model.config.validation == "folds":
        logits = _out_of_fold(model, features, known)
        return Predictions(logits, known.labels, pooled_split(dataset).groups)
    logits = _logits(model, features, model.network.head, known)
    return Predictions(logits, known.labels, dataset.splits[split].groups)


def _out_of_fold(model: Model, features: Features, pool: Examples) -> NDArray[np.float32]:
    """Logits (N, K), each row of the member that has not seen the image."""
    logits = np.empty((len(pool), len(features.dataset.classes)), np.float32)
    folds = draw_folds(features.dataset, model.config.heads, seed=model.config.seed)
    for member, fold in zip(model.network.members, folds, strict=True):
        logits[fold] = _logits(model, features, member, pool.chosen(fold))
    return logits


def _logits(
    model: Model, features: Features, part: nn.Module, known: Examples
) -> NDArray[np.float32]:
    module = features.module(model.network, part)
    execution = features.execution(model.config)
    return logits_of(module, known.inputs, execution=execution, at_once=known.at_once)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the number of torch threads inside the block and restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
