"""One training run: data, network, loss, loop and evaluation, into one run folder.

    RUN/config.json            what was asked for and what it was run with (RunRecord)
    RUN/checkpoint.safetensors every tensor of the classifier, frozen ones too: the folder needs no other file
    RUN/history.csv            a line an epoch and head
    RUN/metrics.json           temperature and measures; RUN/calibrators.json what was fitted
    RUN/predictions.npz        the logits and labels behind them, and the patients where known
    RUN/samples.npy            a few validation inputs, uint8 (n, C, H, W), on which an export is verified
    RUN/plots/*.png            reliability, risk and coverage, training curves; RUN/tensorboard where asked for

The folder is made in a hidden one and renamed when it is whole (`training.workplace`), so an interrupted run is never
mistaken for one, and asking for the same run again goes on with it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from model_store.image import InputSpec
from training.backbones import weights_digest
from training.board import Board
from training.config import RunRecord, TrainConfig, library_versions, source_commit
from training.datasets import Dataset, Split, SplitName
from training.device import find_device, out_of_memory
from training.distributed import Group
from training.errors import OutOfMemory
from training.evaluation import EVALUATED, Evaluation, Predictions, evaluate, write_evaluation
from training.examples import Examples
from training.execution import Execution, leader_first
from training.features import FeatureCache
from training.history import Epoch, write_history
from training.loop import fit
from training.losses import Objective, balanced_weights, build_objective, strength
from training.networks import Classifier, build_classifier, head_seeds
from training.plots import write_plots
from training.prediction import predict
from training.progress import Progress, silent
from training.snapshot import SnapshotFile
from training.workplace import Workplace, open_workplace

SAMPLES = 32
# A head's steps take milliseconds: two threads gain little, and on a machine with other load they wait for each other
# ten times as long as they work. One thread also gives the same bits whatever the number of cores.
HEAD_THREADS = 1


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, its record, how it went, and what it is worth."""

    folder: Path
    record: RunRecord
    history: list[Epoch]
    evaluation: Evaluation


def train(
    config: TrainConfig,
    dataset: Dataset,
    out: Path,
    *,
    cache: Path | None = None,
    restart: bool = False,
    tensorboard: bool = False,
    group: Group | None = None,
    notice: Callable[[str], None] | None = None,
    progress: Progress = silent,
) -> RunResult:
    """Train on `dataset` as `config` says and write the run folder `out`, which must not exist.

    A run that was interrupted goes on after its last whole epoch, unless `restart` says to begin anew. `cache` keeps
    frozen features between runs; without it they are computed again. `group` are the processes that share the work, all
    calling this with the same arguments; the first of them writes. `notice` is told in a sentence that an interrupted
    run goes on. Progress stages are "weights from the hub",
    "features SPLIT" (images) and "train LOSS" (epochs).

    Raises RunExists, RunBusy, RunDiffers, WeightsNotFound, BadWeights, UnknownName, BadLoss, BadDataset,
    TrainingDiverged, OutOfMemory, DeviceNotFound, TensorBoardMissing.
    """
    config = config.model_copy(update={"beta": strength(config.loss, config.loss_settings)})
    run = _Run(config, dataset, group or Group.alone(), progress)
    request = config.model_dump(mode="json") | {"data": dataset.fingerprint, "processes": run.group.size}
    out.parent.mkdir(parents=True, exist_ok=True)
    # Each process but the first has a place of its own that nobody sees: it only reads what the first one wrote.
    own = out if run.group.leads else out.with_name(f"{out.name}-process-{run.group.rank}")
    with open_workplace(own, request, restart=restart or not run.group.leads) as place:
        if place.begun and notice:
            notice(f"{out} was interrupted: going on after its last whole epoch (--restart begins anew)")
        board = Board(place.folder / "tensorboard") if tensorboard and run.group.leads else None
        try:
            result = run.work(place, cache=cache or place.folder / "cache", board=board)
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error):
                raise OutOfMemory(batch_size=config.batch_size, micro_batch=config.micro_batch) from error
            raise
        if run.group.leads:
            _write(place, result, board=board)
            place.finish()
    return RunResult(out, result.record, result.history, result.evaluation)


@dataclass(frozen=True)
class _Finished:
    """What there is to write."""

    network: Classifier
    record: RunRecord
    history: list[Epoch]
    evaluation: Evaluation
    samples: NDArray[np.uint8]


@dataclass(frozen=True)
class _Run:
    """The work of one process."""

    config: TrainConfig
    dataset: Dataset
    group: Group
    progress: Progress

    def work(self, place: Workplace, *, cache: Path, board: Board | None) -> _Finished:
        """Train and evaluate."""
        device = find_device(self.config.device, self.group)
        execution = Execution(self.group, device, self.config.micro_batch, self.config.amp)
        spec = self.config.input_spec(self.dataset)
        network = self.network(spec)
        record = _record(self.config, self.dataset, spec, network)
        examples = self.examples(network.to(device), spec=spec, cache=cache)
        with _threads(HEAD_THREADS if self.config.frozen else torch.get_num_threads()):
            history = self.fit(network, examples, place=place, execution=execution, board=board)
        trained = network.head if self.config.frozen else network
        evaluation = evaluate(
            {
                split: Predictions(
                    predict(trained, examples[split].inputs, execution=execution),
                    examples[split].labels,
                    self.dataset.splits[split].groups,
                )
                for split in EVALUATED
            }
        )
        return _Finished(network.cpu(), record, history, evaluation, _samples(self.dataset.splits["val"], spec))

    def network(self, spec: InputSpec) -> Classifier:
        """The network before training."""
        if self.config.weights == "hub":
            self.progress("weights from the hub", 0, 1)  # silent otherwise, and without a network it takes long
        return build_classifier(
            self.config.backbone,
            self.config.weights,
            spec=spec,
            class_count=len(self.dataset.classes),
            reduction=self.config.head_reduction,
            frozen=self.config.frozen,
            seed=self.config.seed,
            heads=self.config.heads,
        )

    def objective(self) -> Objective:
        """What a fit minimizes; new for each, as some remember."""
        labels = torch.from_numpy(self.dataset.splits["train"].labels)
        balanced = self.config.class_weights == "balanced"
        weights = balanced_weights(labels, len(self.dataset.classes)) if balanced else None
        return build_objective(self.config.loss, replace(self.config.loss_settings, class_weights=weights))

    def examples(self, network: Classifier, *, spec: InputSpec, cache: Path) -> dict[SplitName, Examples]:
        """Cached features where the backbone is frozen, else the images themselves."""
        splits = self.dataset.splits
        if not self.config.frozen:
            return {name: Examples(split.inputs(spec), split.labels) for name, split in splits.items()}
        kept = FeatureCache(
            cache, dataset=self.dataset, backbone_name=self.config.backbone, backbone=network.backbone, spec=spec
        )
        features = leader_first(self.group, lambda: {name: kept.read(name, progress=self.progress) for name in splits})
        return {name: Examples(features[name], split.labels) for name, split in splits.items()}

    def fit(
        self,
        network: Classifier,
        examples: dict[SplitName, Examples],
        *,
        place: Workplace,
        execution: Execution,
        board: Board | None,
    ) -> list[Epoch]:
        """The history of every part that is trained, one after the other."""
        history: list[Epoch] = []
        parts, seeds = network.parts, head_seeds(self.config.seed, self.config.heads)
        for number, (part, seed) in enumerate(zip(parts, seeds, strict=True)):
            history += fit(
                part,
                examples["train"],
                examples["val"],
                objective=self.objective(),
                schedule=self.config.schedule,
                seed=seed,
                head=number,
                execution=execution,
                snapshots=SnapshotFile(place.snapshot(f"head-{number}"), self.group),
                watch=board,
                stage=f"train {self.config.loss}" + (f", head {number + 1} of {len(parts)}" if len(parts) > 1 else ""),
                progress=self.progress,
            )
        return history


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch computes with `count` threads within, and with as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _samples(split: Split, spec: InputSpec) -> NDArray[np.uint8]:
    """A few inputs spread over the split, so that every class is likely among them."""
    indices = np.unique(np.linspace(0, len(split) - 1, SAMPLES).astype(int))
    return np.stack([split.images.input(int(index), spec) for index in indices])


def _record(config: TrainConfig, dataset: Dataset, spec: InputSpec, network: Classifier) -> RunRecord:
    return RunRecord(
        config=config,
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        classes=dataset.classes,
        counts=dataset.counts,
        channels=spec.channels,
        height=spec.height,
        width=spec.width,
        resize=spec.resize,
        window=spec.window,
        frames=spec.frames,
        backbone_sha256=weights_digest(network.backbone),
        libraries=library_versions(),
        git_commit=source_commit(),
    )


def _write(place: Workplace, result: _Finished, *, board: Board | None) -> None:
    folder = place.fresh_run()
    (folder / "config.json").write_text(result.record.model_dump_json(indent=2) + "\n")
    save_file(result.network.state_dict(), folder / "checkpoint.safetensors")
    write_history(folder / "history.csv", result.history)
    write_evaluation(folder, result.evaluation)
    np.save(folder / "samples.npy", result.samples)
    title = f"{result.record.dataset}, {result.record.config.title}"
    write_plots(folder / "plots", result.evaluation, result.history, title=title)
    if board:
        board.move(folder / "tensorboard")
