"""Train the cells that are missing, and measure all: a row for each cell, split and calibrator.

    CELLS/KEY/cell.json        the choices, or why it failed
    CELLS/KEY/history.csv      and metrics.json, predictions.npz, as in a run folder
    CELLS/KEY/epochs.json      of a traced cell: figures of each split after each epoch
    CELLS/KEY/embedding.npy    of a traced cell: test images before the last layer, float32 (N, D)

The folder of a cell is complete or absent, so an interrupted study computes only missing cells. A
loss that diverges would diverge again, so its failure is kept as well and has a row.
"""

import copy
import json
import math
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from calibration.calibrators.temperature import softmax
from calibration.measures.summary import Measures
from training.datasets import SPLIT_NAMES, Dataset
from training.errors import BadChoice, LostProcess, TrainingDiverged, WeightsNotFound
from training.evaluation.evaluation import read_evaluation, write_evaluation
from training.experiments.grid import Cell
from training.fitting.examples import predict as logits_of
from training.fitting.history import Epoch, write_history
from training.networks.heads import Head
from training.progress import Progress, silent
from training.runs.steps import evaluate, fit, predict, prepare
from training.runs.task import task_of

FIGURES = ("ece", "accuracy", "mce", "nll", "brier", "noise_floor", "ece_z", "signed_gap")
Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """Computes cells into `root`, in `jobs` processes of one thread (1: this process)."""

    root: Path
    cache: Path
    jobs: int = 1
    progress: Progress = silent

    def rows(
        self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]
    ) -> tuple[list[Row], list[str]]:
        """A row for each cell, split and calibrator, and a sentence for each pair without weights.

        Raises WeightsNotFound if no cell can be computed, and what training raises.
        """
        missing = [cell for cell in cells if not self.folder(cell).is_dir()]
        lacking = self._prepare(missing, datasets)
        possible = [cell for cell in missing if (cell.data, cell.network) not in lacking]
        for count, _ in enumerate(self._train(possible, datasets), 1):
            self.progress("cells", count, len(possible))
        rows = [row for cell in cells if self.folder(cell).is_dir() for row in self.rows_of(cell)]
        if not rows:
            raise WeightsNotFound("; ".join(lacking.values()) or "there is nothing to compute")
        return rows, [f"{' with '.join(pair)} is left out: {why}" for pair, why in lacking.items()]

    def folder(self, cell: Cell) -> Path:
        return self.root / cell.key

    def rows_of(self, cell: Cell) -> list[Row]:
        """The rows of a computed cell: after each epoch, then at the end by calibrator."""
        folder, about = self.folder(cell), _about(cell)
        failure = json.loads((folder / "cell.json").read_text())["failure"]
        if failure:
            nothing = dict.fromkeys(FIGURES, math.nan)
            return [about | {"split": "test"} | nothing | {"failure": failure}]
        rows = [about | each for each in _read_epochs(folder)]
        for split, by_method in read_evaluation(folder).measures.items():
            rows += [
                about | {"split": split, "calibrator": method} | _figures(measures)
                for method, measures in by_method.items()
            ]
        return rows

    def embedding(self, cell: Cell) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Test images of a traced cell before the last layer, (N, D)."""
        known: np.ndarray[Any, np.dtype[np.float32]] = np.load(
            self.folder(cell) / "embedding.npy", allow_pickle=False
        )
        return known

    def _prepare(
        self, cells: Iterable[Cell], datasets: Mapping[str, Dataset]
    ) -> dict[tuple[str, str], str]:
        """Compute shared features in this process; return the pairs without weights, and why."""
        lacking: dict[tuple[str, str], str] = {}
        seen: set[tuple[str, str]] = set()
        for cell in cells:
            pair = cell.data, cell.network
            dataset, config = datasets[cell.data], cell.config
            # A wrong name fails here, before hours of computing features.
            task_of(dataset).objective(config.loss, config.loss_settings)
            if pair in seen:
                continue
            seen.add(pair)
            try:
                prepare(dataset, config, cache=self.cache, progress=self.progress)
            except WeightsNotFound as error:
                lacking[pair] = str(error)
        return lacking

    def _train(self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]) -> Iterator[None]:
        tasks = [(cell, datasets[cell.data], self.folder(cell), self.cache) for cell in cells]
        if self.jobs == 1 or len(tasks) < 2:
            for task in tasks:
                compute(*task)
                yield
            return
        # A fork of a process that has used torch may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(self.jobs, len(tasks)),
            mp_context=context,
            initializer=torch.set_num_threads,
            initargs=(1,),
        ) as pool:
            try:
                for done in as_completed([pool.submit(compute, *task) for task in tasks]):
                    done.result()
                    yield
            except BrokenProcessPool as error:
                raise LostProcess(
                    f"one of {self.jobs} processes was killed, most likely for lack of memory; try "
                    f"--jobs {max(1, self.jobs // 2)}, which computes only the missing cells"
                ) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def compute(cell: Cell, dataset: Dataset, folder: Path, cache: Path) -> None:
    """Train `cell` and write its folder. Raises what training raises, except TrainingDiverged."""
    with new_folder(folder) as part:
        failure = None
        try:
            train(cell, dataset, part, cache=cache)
        except TrainingDiverged as error:
            failure = str(error)
        record = _about(cell) | {
            "failure": failure,
            "config": cell.config.model_dump(mode="json"),
        }
        (part / "cell.json").write_text(json.dumps(record, indent=2) + "\n")


def train(cell: Cell, dataset: Dataset, folder: Path, *, cache: Path) -> None:
    """Write history, evaluation and, if it is traced, epochs and embedding into `folder`."""
    if cell.traced and cell.config.heads > 1:
        raise BadChoice(
            f"{cell.method} has several heads, which are trained one by one; a curve needs a "
            "single head"
        )
    features = prepare(dataset, cell.config, cache=cache)
    examples = features.examples(cell.config)
    epochs: list[Row] = []

    def watch(epoch: Epoch, module: nn.Module) -> None:
        for split in SPLIT_NAMES:
            probabilities = softmax(logits_of(module, examples[split].inputs))
            measures = Measures.from_probabilities(probabilities, examples[split].labels)
            epochs.append({"split": split, "epoch": epoch.epoch} | _figures(measures))

    model = fit(features, cell.config, watch=watch if cell.traced else None)
    write_history(folder / "history.csv", model.history)
    evaluation = evaluate(predict(model, features), dataset.classes)
    write_evaluation(folder, evaluation.of_classes, intervals=False)
    if cell.traced:
        module = _before_last_layer(features.module(model.network, model.network.head))
        (folder / "epochs.json").write_text(json.dumps(epochs))
        np.save(folder / "embedding.npy", logits_of(module, examples["test"].inputs))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it is renamed to `path` at the end and removed on an error.

    If another process has finished the same cell first, its folder stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield part
        part.chmod(0o755)  # mkdtemp creates private folders
        try:
            part.replace(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _about(cell: Cell) -> Row:
    """The row of a cell, without its figures. `epoch` None: the network at the end."""
    return {
        "data": cell.data,
        "network": cell.network,
        "method": cell.method,
        "seed": cell.config.seed,
        "split": None,
        "calibrator": "none",
        "epoch": None,
        "failure": None,
        "cell": cell.key,
    }


def _figures(measures: Measures) -> Row:
    """Figures by name; NaN for those that are undefined."""
    known = {figure: getattr(measures, figure) for figure in FIGURES}
    return {figure: math.nan if value is None else value for figure, value in known.items()}


def _read_epochs(folder: Path) -> list[Row]:
    path = folder / "epochs.json"
    return json.loads(path.read_text()) if path.is_file() else []


def _before_last_layer(module: nn.Module) -> nn.Module:
    """A copy of `module` without the last layer of its head."""
    shortened = copy.deepcopy(module)
    (head,) = (each for each in shortened.modules() if isinstance(each, Head))
    head[-1] = nn.Identity()
    return shortened
