"""A training run in memory, from the network to its evaluation."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.image import InputSpec
from training.datasets import Dataset, SplitName
from training.evaluation.evaluation import EVALUATED, EvaluatedSplit, Evaluation, Predictions
from training.evaluation.findings import FindingsEvaluation
from training.features.augmentation import Augmentation
from training.features.cache import FeatureCache
from training.features.inputs import NetworkInputs, StreamedImages
from training.fitting.examples import Examples, predict
from training.fitting.fit import fit
from training.fitting.history import Epoch
from training.fitting.logistic import fit_logistic
from training.fitting.snapshot import SnapshotFile
from training.losses import Objective
from training.networks.backbones import Weights
from training.networks.classifier import Classifier, build_classifier, head_seeds
from training.networks.heads import BlendedHead
from training.processes.distributed import Group
from training.processes.execution import Execution, find_device, leader_first
from training.progress import Progress, silent
from training.runs.config import TrainConfig
from training.runs.folds import divided, draw_folds, pooled_examples, pooled_split
from training.runs.task import task_of

# A head's steps take milliseconds. Two threads gain little, and under other load they wait for each
# other ten times as long as they compute. One thread also gives bitwise equal results for any
# number of cores.
HEAD_THREADS = 1
Read = Callable[[SplitName], NetworkInputs]


@dataclass(frozen=True)
class TrainingSession:
    """The run of `config` on `dataset`, as one process of `group` computes it."""

    config: TrainConfig
    dataset: Dataset
    group: Group = field(default_factory=Group.alone)
    progress: Progress = silent
    stage: str = ""
    """What stands before the name of a fit's stage."""

    @property
    def execution(self) -> Execution:
        """Device, processes, micro-batches and precision. Raises DeviceNotFound."""
        device = find_device(self.config.device, self.group)
        return Execution(self.group, device, self.config.micro_batch, self.config.amp)

    def network(self) -> Classifier:
        if self.config.weights == "hub":  # a long silence otherwise, if there is no network
            self.progress("weights from the hub", 0, 1)
        spec, classes = self.config.input_spec(self.dataset), len(self.dataset.classes)
        return build_network(
            self.config,
            self.config.weights,
            spec,
            classes=classes,
            mean=task_of(self.dataset).mean,
        )

    def objective(self) -> Objective:
        """The objective of a fit; each fit needs a new one, since some terms keep state."""
        settings = replace(self.config.loss_settings, class_weights=self.class_weights())
        return task_of(self.dataset).objective(self.config.loss, settings)

    def class_weights(self) -> Tensor | None:
        """Balanced weights of the training labels, or None."""
        if self.config.class_weights != "balanced":
            return None
        labels = torch.from_numpy(self.dataset.splits["train"].labels)
        return task_of(self.dataset).weights(labels, len(self.dataset.classes))

    def streams(self, network: Classifier) -> bool:
        """Whether images pass through all of `network` in each epoch, so nothing can be kept."""
        return network.backbone.only_normalizes or self.config.augment is not None

    def parts(self, network: Classifier) -> tuple[nn.Module, ...]:
        """The modules to train on the examples, one fit each."""
        return tuple(self._behind(network, member) for member in network.members)

    def whole(self, network: Classifier) -> nn.Module:
        """The module from the examples to the answer."""
        return self._behind(network, network.head)

    def _behind(self, network: Classifier, module: nn.Module) -> nn.Module:
        return nn.Sequential(network.backbone, module) if self.streams(network) else module

    def examples(self, network: Classifier, *, cache: Path) -> dict[SplitName, Examples]:
        """Cached features of the fixed backbone, or images that are read when they are needed."""
        splits, streamed = self.dataset.splits, self.streams(network)
        read = self._images if streamed else self._features(network, cache)
        examples: dict[SplitName, Examples] = {
            name: Examples(read(name), split.labels, streamed=streamed)
            for name, split in splits.items()
        }
        if self.config.augment:
            augmentation = Augmentation(self.config.augment)
            examples["train"] = replace(examples["train"], augmentation=augmentation)
        return examples

    def for_head(self, examples: Mapping[SplitName, Examples]) -> dict[SplitName, Examples]:
        """Cached features as the head takes them: others than the paper's need only means of the
        maps. With folds, train and val are both all images of the two.
        """
        known = dict(examples)
        if self.config.cached and self.config.head != "paper":
            known = {name: each.pooled() for name, each in examples.items()}
        if self.config.validation == "folds":
            known["train"] = known["val"] = pooled_examples(known["train"], known["val"])
        return known

    def _folds(self) -> list[NDArray[np.int64]]:
        """The part of each network."""
        return draw_folds(self.dataset, self.config.heads, seed=self.config.seed)

    def _images(self, name: SplitName) -> NetworkInputs:
        return StreamedImages(self.dataset.splits[name], self.config.input_spec(self.dataset))

    def _features(self, network: Classifier, cache: Path) -> Read:
        kept = FeatureCache(
            cache,
            dataset=self.dataset,
            backbone_name=self.config.backbone,
            backbone=network.backbone,
            spec=self.config.input_spec(self.dataset),
        )
        return lambda name: leader_first(
            self.group, lambda: kept.read(name, progress=self.progress)
        )

    def fit(
        self,
        network: Classifier,
        examples: Mapping[SplitName, Examples],
        *,
        snapshot: Callable[[str], Path] | None = None,
        watch: Callable[[Epoch], None] | None = None,
    ) -> list[Epoch]:
        """Train every part of `network`, one after the other.

        `snapshot` returns the snapshot file of each fit, from which it resumes; without it nothing
        is written.
        """
        history: list[Epoch] = []
        folds = self._folds() if self.config.validation == "folds" else None
        for number, part in enumerate(self.parts(network)):
            train, val = examples["train"], examples["val"]
            if folds is not None:
                train, val = divided(train, folds[number])
            session = self
            if isinstance(part, BlendedHead):
                with _threads(HEAD_THREADS):
                    features, labels = train.batch(np.arange(len(train)))
                    fit_logistic(part.linear, features, labels)
                balanced = self.config.model_copy(update={"class_weights": "balanced"})
                session, part = replace(self, config=balanced), part.pooled
            history += session._fit_part(number, part, train, val, snapshot=snapshot, watch=watch)
        given = self.class_weights()
        shift = None if given is None else task_of(self.dataset).shift(given)
        if shift is not None:
            network.shift(shift)
        return history

    def _fit_part(
        self,
        number: int,
        part: nn.Module,
        train: Examples,
        val: Examples,
        *,
        snapshot: Callable[[str], Path] | None,
        watch: Callable[[Epoch], None] | None,
    ) -> list[Epoch]:
        count = self.config.heads
        with _threads(HEAD_THREADS if self.config.cached else torch.get_num_threads()):
            return fit(
                part,
                train,
                val,
                objective=self.objective(),
                schedule=self.config.schedule,
                seed=head_seeds(self.config.seed, count)[number],
                head=number,
                execution=self.execution,
                snapshots=SnapshotFile(snapshot(f"head-{number}"), self.group)
                if snapshot
                else None,
                watch=watch,
                stage=f"{self.stage}train {self.config.loss}"
                + (f", head {number + 1} of {count}" if count > 1 else ""),
                progress=self.progress,
            )

    def evaluation(
        self, network: Classifier, examples: Mapping[SplitName, Examples]
    ) -> Evaluation | FindingsEvaluation:
        predictions = {split: self.predictions(network, examples, split) for split in EVALUATED}
        return task_of(self.dataset).evaluate(self.dataset.classes, predictions)

    def predictions(
        self, network: Classifier, examples: Mapping[SplitName, Examples], split: EvaluatedSplit
    ) -> Predictions:
        """Answers to a split; with folds, those of validation come from the network of each."""
        known = examples[split]
        if split == "val" and self.config.validation == "folds":
            groups = pooled_split(self.dataset).groups
            return Predictions(self._out_of_fold(network, known), known.labels, groups)
        groups = self.dataset.splits[split].groups
        return Predictions(self.answers(self.whole(network), known), known.labels, groups)

    def _out_of_fold(self, network: Classifier, pool: Examples) -> NDArray[np.float32]:
        """Logits (N, K), each row of the network that has not seen the image."""
        logits = np.empty((len(pool), len(self.dataset.classes)), np.float32)
        for part, fold in zip(self.parts(network), self._folds(), strict=True):
            logits[fold] = self.answers(part, pool.chosen(fold))
        return logits

    def answers(self, module: nn.Module, known: Examples) -> NDArray[np.float32]:
        """Logits (N, K) of the examples."""
        return predict(module, known.inputs, execution=self.execution, at_once=known.at_once)


def build_network(
    config: TrainConfig,
    weights: Weights,
    spec: InputSpec,
    *,
    classes: int,
    mean: Callable[[Tensor], Tensor],
) -> Classifier:
    """The network of `config` with these weights in its backbone, before training."""
    return build_classifier(
        config.backbone,
        weights,
        spec=spec,
        class_count=classes,
        reduction=config.head_reduction,
        frozen=config.frozen,
        seed=config.seed,
        head=config.head,
        heads=config.heads,
        dropout=config.dropout,
        mean=mean,
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the number of torch threads inside the block and restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
