"""A run is four functions, which a notebook calls as readily as `candor train` does.

    features = prepare(dataset, config)         what a head learns from, computed once
    model = fit(features, config)               one network, trained on train
    predictions = predict(model, features)      logits and labels of validation and test
    report = evaluate(predictions, dataset.classes)

What trains several networks calls them: committees and folds (`training.runs.committee`), the
search over candidates (`training.runs.recipe`) and experiments.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from model_store.image import InputSpec
from training.datasets import Dataset, SplitName
from training.errors import BadChoice
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
from training.fitting.snapshot import SnapshotFile
from training.networks.backbones import Trunk
from training.networks.classifier import Classifier, draw_trunk
from training.processes.distributed import Group
from training.processes.execution import Execution, find_device, leader_first
from training.progress import Progress, silent
from training.runs.config import TrainConfig, build_network
from training.runs.task import task_of

AllExamples = Mapping[SplitName, Examples]


@dataclass(frozen=True)
class Features:
    """What a head learns from: features of a frozen backbone, or images if all of it is trained.

    Attributes:
        trunk: the backbone as it was loaded; fits of the whole network train copies of it.
        whole: feature maps, or images, by split, as the paper's head takes them.
        streamed: images pass through the network in each epoch, so nothing is kept.
        device: where the head is trained, by the processes of `group`.
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

    def examples(self, config: TrainConfig) -> AllExamples:
        """As the head of `config` takes them."""
        return self.whole if self.streamed or config.head == "paper" else self.means

    def network(self, config: TrainConfig) -> Classifier:
        """The network of `config` on this backbone, before training."""
        classes = len(self.dataset.classes)
        return build_network(config, self.trunk, self.spec, classes=classes).to(self.device)

    def module(self, network: Classifier) -> nn.Module:
        """The part of `network` from the examples to its logits."""
        return nn.Sequential(network.backbone, network.head) if self.streamed else network.head

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
    return replace(features, whole={name: Examples(maps[name], labels[name]) for name in maps})


def _images(dataset: Dataset, spec: InputSpec, augment: str | None) -> AllExamples:
    """Images that are read when they are needed; those of train change with every epoch."""
    examples: dict[SplitName, Examples] = {
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
    snapshot: Path | None = None,
    watch: Watch | None = None,
    stage: str = "",
    progress: Progress = silent,
) -> Model:
    """Draw the network of `config` and train it on train; validation chooses the epoch.

    From the file `snapshot` it resumes; without one nothing is written. `watch` is called with each
    finished epoch and the module. `stage` stands before the name of the stage "train LOSS".

    Raises UnknownName, BadLoss, BadRun, TrainingDiverged; BadChoice for the choices of a committee.
    """
    if config.is_committee:
        raise BadChoice("fit trains one network; fit_committee takes several, folds and blends")
    network, examples = features.network(config), features.examples(config)
    weights = _class_weights(features.dataset, config)
    task = task_of(features.dataset)
    with threads(torch.get_num_threads() if features.streamed else HEAD_THREADS):
        history = fit_module(
            features.module(network),
            examples["train"],
            examples["val"],
            objective=task.objective(
                config.loss, replace(config.loss_settings, class_weights=weights)
            ),
            schedule=config.schedule,
            seed=config.seed,
            execution=features.execution(config),
            snapshots=None if snapshot is None else SnapshotFile(snapshot, features.group),
            watch=watch,
            stage=f"{stage}train {config.loss}",
            progress=progress,
        )
    shift = None if weights is None else task.shift(weights)
    if shift is not None:
        network.shift(shift)
    return Model(config, network, history)


def predict(
    model: Model, features: Features, splits: Sequence[EvaluatedSplit] = EVALUATED
) -> dict[EvaluatedSplit, Predictions]:
    """Logits and labels of each split."""
    module, execution = features.module(model.network), features.execution(model.config)
    predictions: dict[EvaluatedSplit, Predictions] = {}
    for split in splits:
        known = features.examples(model.config)[split]
        logits = logits_of(module, known.inputs, execution=execution, at_once=known.at_once)
        groups = features.dataset.splits[split].groups
        predictions[split] = Predictions(logits, known.labels, groups)
    return predictions


def evaluate(
    predictions: Mapping[EvaluatedSplit, Predictions], classes: Sequence[str]
) -> Evaluation | FindingsEvaluation:
    """Fit calibrators on validation and measure all splits; labels (N, K) are findings."""
    return task_of(predictions["val"]).evaluate(classes, predictions)


def _class_weights(dataset: Dataset, config: TrainConfig) -> Tensor | None:
    """Balanced weights of the training labels, or None."""
    if config.class_weights != "balanced":
        return None
    labels = torch.from_numpy(dataset.splits["train"].labels)
    return task_of(dataset).weights(labels, len(dataset.classes))


# A head's steps take milliseconds. Two threads gain little, and under other load they wait for each
# other ten times as long as they compute. One thread also gives bitwise equal results for any
# number of cores.
HEAD_THREADS = 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set the number of torch threads inside the block and restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
