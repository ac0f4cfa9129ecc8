"""A training run in memory: network, objective, examples, fits, evaluation. `training.runs.run` writes it to disk."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from training.datasets import Dataset
from training.evaluation.evaluation import KEPT, Evaluation, Predictions, evaluate
from training.features.augmentation import view_of
from training.features.cache import FeatureCache
from training.features.perturbation import PERTURBATIONS
from training.fitting.examples import Examples
from training.fitting.history import Epoch
from training.fitting.loop import fit
from training.fitting.prediction import predict
from training.fitting.snapshot import SnapshotFile
from training.losses import Objective, balanced_weights, build_objective
from training.networks.classifier import Classifier, build_classifier, head_seeds
from training.processes.device import find_device
from training.processes.distributed import Group
from training.processes.execution import Execution, leader_first
from training.progress import Progress, silent
from training.runs.config import TrainConfig

# A head's steps take milliseconds. Two threads gain little, and under other load they wait for each other ten times as
# long as they compute. One thread also gives bitwise equal results for any number of cores.
HEAD_THREADS = 1
ExampleName = Literal["train", "val", "test", "perturbed"]


@dataclass(frozen=True)
class TrainingSession:
    """The run of `config` on `dataset`, as one process of `group` computes it."""

    config: TrainConfig
    dataset: Dataset
    group: Group = field(default_factory=Group.alone)
    progress: Progress = silent

    @property
    def execution(self) -> Execution:
        """Device, processes, micro-batches and precision. Raises DeviceNotFound."""
        device = find_device(self.config.device, self.group)
        return Execution(self.group, device, self.config.micro_batch, self.config.amp)

    def network(self) -> Classifier:
        """The network before training."""
        if self.config.weights == "hub":
            self.progress("weights from the hub", 0, 1)  # a long silence otherwise, if there is no network
        return build_classifier(
            self.config.backbone,
            self.config.weights,
            spec=self.config.input_spec(self.dataset),
            class_count=len(self.dataset.classes),
            reduction=self.config.head_reduction,
            frozen=self.config.frozen,
            seed=self.config.seed,
            heads=self.config.heads,
            trainable=self.config.trainable,
        )

    def objective(self) -> Objective:
        """The objective of a fit; each fit needs a new one, since some terms keep state."""
        labels = torch.from_numpy(self.dataset.splits["train"].labels)
        balanced = self.config.class_weights == "balanced"
        weights = balanced_weights(labels, len(self.dataset.classes)) if balanced else None
        return build_objective(self.config.loss, replace(self.config.loss_settings, class_weights=weights))

    def examples(self, network: Classifier, *, cache: Path) -> dict[ExampleName, Examples]:
        """Cached features, with views of the training split, if the whole backbone is frozen; else the images."""
        splits, spec = self.dataset.splits, self.config.input_spec(self.dataset)
        if not network.backbone.frozen:
            return {name: Examples(split.inputs(spec), split.labels) for name, split in splits.items()}
        kept = FeatureCache(
            cache, dataset=self.dataset, backbone_name=self.config.backbone, backbone=network.backbone, spec=spec
        )
        features = leader_first(self.group, lambda: {name: kept.read(name, progress=self.progress) for name in splits})
        views = leader_first(
            self.group,
            lambda: [
                kept.read("train", transform=view_of(view), progress=self.progress)
                for view in range(1, self.config.views)
            ],
        )
        examples: dict[ExampleName, Examples] = {
            name: Examples(features[name], split.labels) for name, split in splits.items()
        }
        if self.config.perturbed:
            maps = leader_first(
                self.group,
                lambda: [kept.read("val", transform=transform, progress=self.progress) for transform in PERTURBATIONS],
            )
            labels = np.tile(splits["val"].labels, len(maps))
            examples["perturbed"] = Examples(np.concatenate(maps), labels)
        examples["train"] = replace(examples["train"], views=views)
        return examples

    def fit(
        self,
        network: Classifier,
        examples: Mapping[ExampleName, Examples],
        *,
        snapshot: Callable[[str], Path] | None = None,
        watch: Callable[[Epoch], None] | None = None,
    ) -> list[Epoch]:
        """Train every part of `network`, one after the other.

        `snapshot` returns the snapshot file of each fit, from which it resumes; without it nothing is written.
        """
        history: list[Epoch] = []
        parts, seeds = network.parts, head_seeds(self.config.seed, self.config.heads)
        with _threads(HEAD_THREADS if network.backbone.frozen else torch.get_num_threads()):
            for number, (part, seed) in enumerate(zip(parts, seeds, strict=True)):
                history += fit(
                    part,
                    examples["train"],
                    examples["val"],
                    objective=self.objective(),
                    schedule=self.config.schedule,
                    seed=seed,
                    head=number,
                    execution=self.execution,
                    snapshots=SnapshotFile(snapshot(f"head-{number}"), self.group) if snapshot else None,
                    watch=watch,
                    stage=f"train {self.config.loss}"
                    + (f", head {number + 1} of {len(parts)}" if len(parts) > 1 else ""),
                    progress=self.progress,
                )
        return history

    def evaluation(self, network: Classifier, examples: Mapping[ExampleName, Examples]) -> Evaluation:
        """Predict with the trained network and evaluate it."""
        trained = trained_module(network)
        return evaluate(
            {
                split: Predictions(
                    predict(trained, examples[split].inputs, execution=self.execution),
                    examples[split].labels,
                    None if split == "perturbed" else self.dataset.splits[split].groups,
                )
                for split in KEPT
                if split in examples
            }
        )


def trained_module(network: Classifier) -> nn.Module:
    """The module that takes the examples: the head behind cached features, else the whole network."""
    return network.head if network.backbone.frozen else network


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the number of torch threads inside the block and restore it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
