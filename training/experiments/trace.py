"""A run measured after every epoch on every split, and its test images before the last layer.

Test is only plotted and decides nothing.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calibration.calibrators.temperature import softmax
from calibration.measures.summary import Measures
from training.datasets import SPLIT_NAMES, Dataset, SplitName
from training.errors import BadChoice
from training.experiments.cell import Cell, new_folder
from training.experiments.runner import Job
from training.fitting.examples import Examples, predict
from training.fitting.history import Epoch
from training.networks.heads import Head
from training.runs.session import TrainingSession


@dataclass(frozen=True)
class TracePoint:
    """One split after one epoch, in evaluation mode; `loss` is the plain cross-entropy."""

    epoch: int
    split: SplitName
    loss: float
    accuracy: float
    ece: float
    gap: float


@dataclass(frozen=True)
class Trace:
    """Points of a cell; test images before the last layer, float32 (N, 64), and labels (N,)."""

    cell: Cell
    lines: tuple[TracePoint, ...]
    embedding: NDArray[np.float32]
    labels: NDArray[np.int64]

    def curve(self, split: SplitName, figure: str) -> list[float]:
        return [getattr(line, figure) for line in self.lines if line.split == split]


def run_trace(cell: Cell, dataset: Dataset, *, root: Path, cache: Path) -> None:
    """Train `cell`, measure every epoch, and store the trace below `root`. Raises BadChoice."""
    session = TrainingSession(cell.config, dataset)
    network = session.network()
    if len(network.members) > 1:
        raise BadChoice(
            f"{cell.method} has several heads, which are trained one by one; a curve needs a "
            "single head"
        )
    examples = session.examples(network, cache=cache)
    lines: list[TracePoint] = []

    def watch(epoch: Epoch) -> None:
        lines.extend(_lines(epoch.epoch, session.whole(network), examples))

    session.fit(network, examples, watch=watch)
    embedding = predict(_before_last_layer(session.whole(network)), examples["test"].inputs)
    with new_folder(root / cell.key) as folder:
        (folder / "lines.json").write_text(json.dumps([asdict(line) for line in lines]))
        np.savez(folder / "embedding.npz", embedding=embedding, labels=examples["test"].labels)


def read_trace(cell: Cell, root: Path) -> Trace | None:
    """The trace of `cell`; None if it has not been run."""
    folder = root / cell.key
    try:
        lines = tuple(
            TracePoint(**line) for line in json.loads((folder / "lines.json").read_text())
        )
    except FileNotFoundError:
        return None
    with np.load(folder / "embedding.npz", allow_pickle=False) as arrays:
        return Trace(cell, lines, arrays["embedding"], arrays["labels"])


TRACES: Job[Trace] = Job("traces", run_trace, read_trace)


def _lines(
    epoch: int, module: nn.Module, examples: Mapping[SplitName, Examples]
) -> list[TracePoint]:
    lines = []
    for split in SPLIT_NAMES:
        probabilities = softmax(predict(module, examples[split].inputs))
        known = Measures.from_probabilities(probabilities, examples[split].labels)
        figures = float(known.nll or 0), known.accuracy, known.ece, known.signed_gap
        lines.append(TracePoint(epoch, split, *figures))
    return lines


def _before_last_layer(module: nn.Module) -> nn.Module:
    """A copy of `module` without the last layer of its head."""
    shortened = copy.deepcopy(module)
    (head,) = (each for each in shortened.modules() if isinstance(each, Head))
    head[-1] = nn.Identity()
    return shortened
