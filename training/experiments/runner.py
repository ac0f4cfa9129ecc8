"""Compute missing cells in several processes, one thread per cell."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch

from training.datasets import Dataset
from training.errors import LostProcess, WeightsNotFound
from training.experiments.cell import Cell, CellResult, read_cell, run_cell
from training.progress import Progress, silent
from training.runs.config import TrainConfig
from training.runs.session import TrainingSession

Kept = TypeVar("Kept")


class RunJob(Protocol):
    """Compute `cell` on `dataset` and store it below `root`."""

    def __call__(self, cell: Cell, dataset: Dataset, *, root: Path, cache: Path) -> None: ...


@dataclass(frozen=True)
class Job(Generic[Kept]):
    """How to compute and read a cell; module-level functions, which other processes import."""

    name: str
    run: RunJob
    read: Callable[[Cell, Path], Kept | None]


CELLS: Job[CellResult] = Job("cells", run_cell, read_cell)


@dataclass(frozen=True)
class ExperimentRunner:
    """Computes cells into `root` in `jobs` processes of one thread (1: this process)."""

    root: Path
    cache: Path
    jobs: int = 1
    progress: Progress = silent

    def run(
        self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]
    ) -> tuple[list[CellResult], list[str]]:
        """The results of the cells in order, and a sentence for each network without weights.

        Raises WeightsNotFound if no cell can be computed.
        """
        return self.run_job(CELLS, cells, datasets)

    def run_job(
        self, job: Job[Kept], cells: Sequence[Cell], datasets: Mapping[str, Dataset]
    ) -> tuple[list[Kept], list[str]]:
        """Like `run`, with any `job`."""
        root = self.root / job.name
        missing = [cell for cell in cells if job.read(cell, root) is None]
        lacking = self._prepare(missing, datasets)
        possible = [cell for cell in missing if (cell.data, cell.network) not in lacking]
        done = len(cells) - len(missing)
        self.progress(job.name, done, done + len(possible))
        for count, _ in enumerate(self._compute(job, possible, datasets), done + 1):
            self.progress(job.name, count, done + len(possible))
        kept = [found for cell in cells if (found := job.read(cell, root)) is not None]
        if not kept:
            raise WeightsNotFound("; ".join(lacking.values()) or "there is nothing to compute")
        return kept, [
            f"{data} with {network} is left out: {why}" for (data, network), why in lacking.items()
        ]

    def _prepare(
        self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]
    ) -> dict[tuple[str, str], str]:
        """Compute shared features in this process; return the pairs without weights, and why."""
        lacking: dict[tuple[str, str], str] = {}
        seen: set[object] = set()
        for cell in cells:
            pair, what = (cell.data, cell.network), _features_of(cell.config)
            if (pair, what) in seen or pair in lacking:
                continue
            seen.add((pair, what))
            try:
                warm(cell.config, datasets[cell.data], cache=self.cache, progress=self.progress)
            except WeightsNotFound as error:
                lacking[pair] = str(error)
        return lacking

    def _compute(
        self, job: Job[Kept], cells: Sequence[Cell], datasets: Mapping[str, Dataset]
    ) -> Iterator[str]:
        """Run `job` on each cell; yield the key of each finished cell."""
        root = self.root / job.name
        if self.jobs == 1 or len(cells) < 2:
            for cell in cells:
                job.run(cell, datasets[cell.data], root=root, cache=self.cache)
                yield cell.key
            return
        # A fork of a process that has used torch may hang.
        context = multiprocessing.get_context("spawn")
        arguments = (job.run, dict(datasets), root, self.cache)
        with ProcessPoolExecutor(
            min(self.jobs, len(cells)),
            mp_context=context,
            initializer=_open_worker,
            initargs=arguments,
        ) as pool:
            try:
                for done in as_completed([pool.submit(_run_in_worker, cell) for cell in cells]):
                    yield done.result()
            except BrokenProcessPool as error:
                raise LostProcess(
                    f"one of {self.jobs} processes was killed, most likely for lack of memory; try "
                    f"--jobs {max(1, self.jobs // 2)}, which computes only the missing cells"
                ) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def warm(
    config: TrainConfig, dataset: Dataset, *, cache: Path, progress: Progress = silent
) -> None:
    """Compute the frozen features that `config` needs and the cache lacks.

    Raises WeightsNotFound, BadWeights, UnknownName, BadLoss, BadBackbone.
    """
    session = TrainingSession(config, dataset, progress=progress)
    session.objective()  # a wrong name fails here, before hours of computing features
    network = session.network()
    if not session.streams(network):
        session.examples(network, cache=cache)


def _features_of(config: TrainConfig) -> tuple[object, ...]:
    """What frozen features depend on, and what else `warm` checks."""
    return (
        (config.weights, config.image_size, config.resize),
        (config.frozen, config.augment),
        (config.loss, str(config.loss_options)),
    )


_worker: tuple[RunJob, Mapping[str, Dataset], Path, Path]


def _open_worker(run: RunJob, datasets: Mapping[str, Dataset], root: Path, cache: Path) -> None:
    global _worker  # one per process of the pool, for all its cells
    torch.set_num_threads(1)
    _worker = (run, datasets, root, cache)


def _run_in_worker(cell: Cell) -> str:
    run, datasets, root, cache = _worker
    run(cell, datasets[cell.data], root=root, cache=cache)
    return cell.key
