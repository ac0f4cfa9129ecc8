"""Train the cells that are missing, and measure all: a row for each cell, split and calibrator.

    CELLS/KEY.json   the rows of a cell, or why it failed
    CELLS/KEY.npz    of a traced cell: test images before the last layer, with their classes

A file is complete or absent, so an interrupted study computes only missing cells. A loss that
diverges would diverge again, so its failure is kept as well.
"""

import copy
import io
import itertools
import json
import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from calibration.calibrators.temperature import softmax
from calibration.measures.summary import Measures
from calibration.wording import parameter
from model_store.bundle.files import write_whole
from training.datasets import SPLIT_NAMES, Dataset
from training.errors import BadChoice, LostProcess, TrainingDiverged
from training.experiments.grid import Cell
from training.fitting.examples import predict as logits_of
from training.fitting.history import Epoch
from training.networks.heads import Head
from training.progress import Progress, silent
from training.runs.committee import fit_committee, predict_committee
from training.runs.steps import Features, Model, evaluate, fit, prepare
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

    def rows(self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]) -> list[Row]:
        """The rows of all cells. Raises what training raises."""
        self.root.mkdir(parents=True, exist_ok=True)
        missing = [cell for cell in cells if not self.file(cell).is_file()]
        self._prepare(missing, datasets)
        for count, _ in enumerate(self._compute(missing, datasets), 1):
            self.progress("cells", count, len(missing))
        return [
            _about(cell) | row for cell in cells for row in json.loads(self.file(cell).read_text())
        ]

    def file(self, cell: Cell) -> Path:
        return self.root / f"{cell.key}.json"

    def _prepare(self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]) -> None:
        """Compute shared features in this process. Wrong names fail here, before hours of that."""
        for cell in cells:
            task_of(datasets[cell.data]).objective(cell.config.loss, cell.config.loss_settings)
        pairs = {(cell.data, cell.network): cell.config for cell in cells}
        for (data, _), config in pairs.items():
            prepare(datasets[data], config, cache=self.cache, progress=self.progress)

    def _compute(self, cells: Sequence[Cell], datasets: Mapping[str, Dataset]) -> Iterator[None]:
        tasks = [(cell, datasets[cell.data], self.file(cell), self.cache) for cell in cells]
        if self.jobs == 1 or len(tasks) < 2:
            yield from itertools.starmap(compute, tasks)
            return
        with ProcessPoolExecutor(
            min(self.jobs, len(tasks)),
            mp_context=multiprocessing.get_context("spawn"),  # a fork that used torch may hang
            initializer=torch.set_num_threads,
            initargs=(1,),
        ) as pool:
            try:
                for done in as_completed([pool.submit(compute, *task) for task in tasks]):
                    yield done.result()
            except BrokenProcessPool as error:
                raise LostProcess(
                    f"one of {self.jobs} processes was killed, most likely for lack of memory; try "
                    f"{parameter('jobs', max(1, self.jobs // 2))}, which computes only the missing "
                    "cells"
                ) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def compute(cell: Cell, dataset: Dataset, file: Path, cache: Path) -> None:
    """Train `cell` and write its file. Raises what training raises, except TrainingDiverged."""
    try:
        rows = train(cell, dataset, file, cache=cache)
    except TrainingDiverged as error:
        nothing = dict.fromkeys(FIGURES, math.nan)
        rows = [{"split": "test", "failure": str(error)} | nothing]
    write_whole(file, json.dumps(rows).encode())


def train(cell: Cell, dataset: Dataset, file: Path, *, cache: Path) -> list[Row]:
    """The rows of a cell: if it is traced, after each epoch; then at the end, by calibrator."""
    if cell.traced and cell.config.heads > 1:
        raise BadChoice(
            f"{cell.method} has several heads, which are trained one by one; a curve needs a "
            "single head"
        )
    features = prepare(dataset, cell.config, cache=cache)
    examples = features.examples(cell.config)
    rows: list[Row] = []

    def watch(epoch: Epoch, module: nn.Module) -> None:
        for split in SPLIT_NAMES:
            probabilities = softmax(logits_of(module, examples[split].inputs))
            measures = Measures.from_probabilities(probabilities, examples[split].labels)
            rows.append({"split": split, "epoch": epoch.epoch} | _figures(measures))

    if cell.traced:
        model = fit(features, cell.config, watch=watch)
        _write_embedding(file.with_suffix(".npz"), model, features)
    else:
        model = fit_committee(features, cell.config)
    evaluation = evaluate(predict_committee(model, features), dataset.classes).of_classes
    return rows + [
        {"split": split, "calibrator": method} | _figures(measures)
        for split, by_method in evaluation.measures.items()
        for method, measures in by_method.items()
    ]


def _about(cell: Cell) -> Row:
    """The row of a cell, without its figures. `epoch` None: the network at the end."""
    return {
        "data": cell.data,
        "network": cell.network,
        "method": cell.method,
        "beta": cell.config.beta,
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


def _write_embedding(path: Path, model: Model, features: Features) -> None:
    """Write the test images as they are before the last layer of the head, float32 (N, D)."""
    module = copy.deepcopy(features.module(model.network))
    (head,) = (each for each in module.modules() if isinstance(each, Head))
    head[-1] = nn.Identity()
    test, content = features.examples(model.config)["test"], io.BytesIO()
    classes = np.array(features.dataset.classes)
    np.savez(content, points=logits_of(module, test.inputs), labels=test.labels, classes=classes)
    write_whole(path, content.getvalue())
