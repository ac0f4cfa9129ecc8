"""One training run: data, network, loss, loop and evaluation, into one run folder.

    RUN/config.json            what was asked for and what it was run with (RunRecord)
    RUN/checkpoint.safetensors every tensor of the classifier, frozen ones too: the folder needs no other file
    RUN/history.csv            a line an epoch
    RUN/metrics.json           temperature and measures; RUN/predictions.npz the logits behind them
    RUN/samples.npy            a few validation inputs, uint8 (n, C, H, W), on which an export is verified
    RUN/plots/*.png            reliability of each split and method, training curves

The folder is built under another name and renamed when it is whole, so an interrupted run is never mistaken for one.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from model_store.image import InputSpec
from training.backbones import weights_digest
from training.config import RunRecord, TrainConfig, library_versions, source_commit
from training.datasets import Dataset, Split, SplitName
from training.errors import RunExists
from training.evaluation import EVALUATED, METHODS, Evaluation, Predictions, evaluate, write_evaluation
from training.features import FeatureCache
from training.loop import Epoch, Examples, Schedule, fit, predict, write_history
from training.losses import LossSettings, Objective, balanced_weights, build_objective
from training.networks import Classifier, build_classifier
from training.plots import plot_history, plot_reliability
from training.progress import Progress, silent

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
    config: TrainConfig, dataset: Dataset, out: Path, *, cache: Path | None = None, progress: Progress = silent
) -> RunResult:
    """Train on `dataset` as `config` says and write the run folder `out`, which must not exist.

    `cache` keeps frozen features between runs; without it they are computed again. Progress stages are
    "weights from the hub", "features SPLIT" (images) and "train LOSS" (epochs). Raises RunExists, WeightsNotFound,
    BadWeights, UnknownName, BadDataset, TrainingDiverged; none of them leaves a folder behind.
    """
    if out.exists():
        raise RunExists(f"{out} already exists; choose another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        result = _train_into(part, config, dataset, cache=cache or part / "cache", progress=progress)
        shutil.rmtree(part / "cache", ignore_errors=True)
        part.chmod(0o755)  # mkdtemp's folders are private; a run is not
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return RunResult(out, *result)


def _train_into(
    folder: Path, config: TrainConfig, dataset: Dataset, *, cache: Path, progress: Progress
) -> tuple[RunRecord, list[Epoch], Evaluation]:
    spec = config.input_spec(dataset)
    if config.weights == "hub":
        progress("weights from the hub", 0, 1)  # silent otherwise, and without a network it takes long to give up
    network = _network(config, spec, class_count=len(dataset.classes))
    record = _record(config, dataset, spec, network)
    examples = _examples(config, dataset, network, spec=spec, cache=cache, progress=progress)
    trained = network.head if config.frozen else network
    with _threads(HEAD_THREADS if config.frozen else torch.get_num_threads()):
        history = fit(
            trained,
            examples["train"],
            examples["val"],
            objective=_objective(config, dataset),
            schedule=Schedule(config.epochs, config.batch_size, config.learning_rate, config.decay),
            seed=config.seed,
            stage=f"train {config.loss}",
            progress=progress,
        )
    evaluation = evaluate(
        {split: Predictions(predict(trained, examples[split].inputs), examples[split].labels) for split in EVALUATED}
    )
    _write(folder, record, network, history=history, evaluation=evaluation)
    np.save(folder / "samples.npy", _samples(dataset.splits["val"], spec))
    return record, history, evaluation


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch computes with `count` threads within, and with as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _network(config: TrainConfig, spec: InputSpec, *, class_count: int) -> Classifier:
    return build_classifier(
        config.backbone,
        config.weights,
        spec=spec,
        class_count=class_count,
        reduction=config.head_reduction,
        frozen=config.frozen,
        seed=config.seed,
    )


def _objective(config: TrainConfig, dataset: Dataset) -> Objective:
    labels = torch.from_numpy(dataset.splits["train"].labels)
    weights = balanced_weights(labels, len(dataset.classes)) if config.class_weights == "balanced" else None
    return build_objective(config.loss, LossSettings(class_weights=weights, beta=config.beta))


def _examples(
    config: TrainConfig, dataset: Dataset, network: Classifier, *, spec: InputSpec, cache: Path, progress: Progress
) -> dict[SplitName, Examples]:
    """Cached features where the backbone is frozen, else the images themselves."""
    if not config.frozen:
        return {name: Examples(split.inputs(spec), split.labels) for name, split in dataset.splits.items()}
    kept = FeatureCache(cache, dataset=dataset, backbone_name=config.backbone, backbone=network.backbone, spec=spec)
    return {name: Examples(kept.read(name, progress=progress), split.labels) for name, split in dataset.splits.items()}


def _samples(split: Split, spec: InputSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
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


def _write(
    folder: Path, record: RunRecord, network: Classifier, *, history: list[Epoch], evaluation: Evaluation
) -> None:
    (folder / "config.json").write_text(record.model_dump_json(indent=2) + "\n")
    save_file(network.state_dict(), folder / "checkpoint.safetensors")
    write_history(folder / "history.csv", history)
    write_evaluation(folder, evaluation)
    plots = folder / "plots"
    plots.mkdir()
    title = f"{record.dataset}, {record.config.title}"
    plot_history(plots / "history.png", history, title=title)
    for split in EVALUATED:
        for method in METHODS:
            suffix = " + temperature" if method == "temperature" else ""
            path = plots / f"reliability_{split}_{method}.png"
            plot_reliability(path, evaluation.sums(split, method), title=f"{title}{suffix}: {split}")
