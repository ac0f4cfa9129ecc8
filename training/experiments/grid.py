"""Data sets x networks x methods x seeds -> cells, the missing ones computed by several processes."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from training.backbones import find_weights
from training.config import TrainConfig
from training.datasets import Dataset
from training.errors import WeightsNotFound
from training.experiments.cell import Cell, Outcome, read_cell, run_cell
from training.experiments.variant import Variant, changed
from training.features import FeatureCache
from training.networks import build_classifier
from training.progress import Progress, silent


@dataclass(frozen=True)
class Grid:
    """What is compared. Changes apply in the order data, network, `exceptions` (by both), method: the last one wins."""

    data: tuple[Variant, ...]
    networks: tuple[Variant, ...]
    methods: tuple[Variant, ...]
    seeds: tuple[int, ...]
    exceptions: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    base: TrainConfig = field(default_factory=TrainConfig)

    def config(
        self, data: Variant, network: Variant, method: Variant, *, seed: int, folder: Path | None
    ) -> TrainConfig:
        """One cell's choices; weights are those of `find_weights` in `folder` unless a variant names them."""
        found = {"weights": find_weights(network.subject, folder), "backbone": network.subject}
        between = self.exceptions.get((data.title, network.title), {})
        named = {"loss": method.subject, "seed": seed}
        return changed(self.base, found, data.changes, network.changes, between, method.changes, named)

    def pairs(self) -> Iterator[tuple[Variant, Variant]]:
        """Every data set with every network."""
        return ((data, network) for data in self.data for network in self.networks)

    def cells(self, datasets: Mapping[str, Dataset], folder: Path | None) -> list[Cell]:
        """All cells on the data sets that are there, seed by seed, so that a part of them is already a comparison."""
        return [
            Cell(
                data=data.title,
                network=network.title,
                method=method.title,
                config=self.config(data, network, method, seed=seed, folder=folder),
                fingerprint=datasets[data.title].fingerprint,
            )
            for seed in self.seeds
            for data, network in self.pairs()
            for method in self.methods
            if data.title in datasets
        ]


@dataclass(frozen=True)
class Workshop:
    """Where cells are kept and how they are computed: `jobs` processes of one thread, or none but this one for 1."""

    root: Path
    cache: Path
    jobs: int = 1
    progress: Progress = silent

    def run(self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]) -> tuple[list[Outcome], list[str]]:
        """The outcome of each cell that could be computed, in order, and a sentence for each network that could not.

        Raises WeightsNotFound if none could.
        """
        missing = [cell for cell in cells if read_cell(cell, self.root) is None]
        lacking = self._prepare(missing, datasets)
        possible = [cell for cell in missing if (cell.data, cell.network) not in lacking]
        done = len(cells) - len(missing)
        self.progress("cells", done, done + len(possible))
        for count, _ in enumerate(self._compute(possible, datasets), done + 1):
            self.progress("cells", count, done + len(possible))
        outcomes = [outcome for cell in cells if (outcome := read_cell(cell, self.root))]
        if not outcomes:
            raise WeightsNotFound("; ".join(lacking.values()) or "the grid is empty")
        return outcomes, [f"left out: {pair[0]} with {pair[1]}: {why}" for pair, why in lacking.items()]

    def _prepare(self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]) -> dict[tuple[str, str], str]:
        """Compute features here, with all threads, once for all cells that share them; say which lack their weights."""
        lacking: dict[tuple[str, str], str] = {}
        seen: set[tuple[object, ...]] = set()
        for cell in cells:
            config, pair = cell.config, (cell.data, cell.network)
            what = (pair, config.weights, config.image_size, config.resize, getattr(config, "views", 1))
            if what in seen or pair in lacking:
                continue
            seen.add(what)
            try:
                warm_features(config, datasets[cell.data], cache=self.cache, progress=self.progress)
            except WeightsNotFound as error:
                lacking[pair] = str(error)
        return lacking

    def _compute(self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]) -> Iterator[str]:
        """Run cells; the key of each as it is done."""
        if self.jobs == 1 or len(cells) < 2:
            for cell in cells:
                run_cell(cell, datasets[cell.data], root=self.root, cache=self.cache)
                yield cell.key
            return
        context = multiprocessing.get_context("spawn")  # a fork of a process that has run torch may hang
        arguments = (dict(datasets), self.root, self.cache)
        with ProcessPoolExecutor(
            min(self.jobs, len(cells)), mp_context=context, initializer=_open_worker, initargs=arguments
        ) as pool:
            try:
                for done in as_completed([pool.submit(_work, cell) for cell in cells]):
                    yield done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def warm_features(config: TrainConfig, dataset: Dataset, *, cache: Path, progress: Progress = silent) -> None:
    """Compute the frozen features that `config` needs, unless they are kept already. Raises WeightsNotFound."""
    spec = config.input_spec(dataset)
    network = build_classifier(
        config.backbone,
        config.weights,
        spec=spec,
        class_count=len(dataset.classes),
        reduction=config.head_reduction,
        frozen=config.frozen,
        seed=config.seed,
    )
    if config.frozen:
        kept = FeatureCache(cache, dataset=dataset, backbone_name=config.backbone, backbone=network.backbone, spec=spec)
        for name in dataset.splits:
            kept.read(name, progress=progress)


_worker: tuple[Mapping[str, Dataset], Path, Path]


def _open_worker(datasets: Mapping[str, Dataset], root: Path, cache: Path) -> None:
    global _worker  # a process of the pool has one, for all its cells
    torch.set_num_threads(1)
    _worker = (datasets, root, cache)


def _work(cell: Cell) -> str:
    datasets, root, cache = _worker
    run_cell(cell, datasets[cell.data], root=root, cache=cache)
    return cell.key
