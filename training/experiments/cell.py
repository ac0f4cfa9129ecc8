"""One training run of an experiment, kept on disk under a hash of everything its numbers depend on.

    CELLS/KEY/cell.json        the choices, the duration, or why it failed
    CELLS/KEY/history.csv      and metrics.json, predictions.npz, as in a run folder
    (training.runs.run)

The folder of a cell is complete or absent, so an interrupted experiment computes only the missing
cells. A loss that diverges would diverge again, so that result is kept too, and the tables report
it.
"""

import functools
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibration.measures.summary import Measures
from training.datasets import Dataset
from training.errors import TrainingDiverged
from training.evaluation.evaluation import (
    EvaluatedSplit,
    Evaluation,
    Predictions,
    read_predictions,
    write_evaluation,
)
from training.fitting.history import Epoch, write_history
from training.networks.backbones import Weights
from training.runs.config import TrainConfig
from training.runs.session import TrainingSession

FORMAT = 1  # increase it when a change of code changes the numbers


@dataclass(frozen=True)
class Cell:
    """A run to compute: `config` on the data of `fingerprint`, with the titles of the variants."""

    data: str
    network: str
    method: str
    config: TrainConfig
    fingerprint: str

    @property
    def key(self) -> str:
        """Name of the folder: a hash of every choice, the data and the weights."""
        choices = self.config.model_dump(mode="json") | {
            "weights": weights_key(self.config.weights)
        }
        parts = [FORMAT, self.fingerprint, dict(sorted(choices.items()))]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class CellResult:
    """The result of a cell: predictions by split, or a sentence that says why it failed."""

    cell: Cell
    seconds: float
    predictions: Mapping[EvaluatedSplit, Predictions]
    failure: str | None = None
    measured: dict[EvaluatedSplit, dict[str, Measures]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Measures by calibrator that `summary.measure` has computed, since every table needs them."""


def weights_key(weights: Weights) -> str:
    """Weights in a key: a file's content, not its path. Training reports a missing file later."""
    if not isinstance(weights, Path) or not weights.is_file():
        return str(weights)
    status = weights.stat()
    return _file_digest(weights, status.st_mtime_ns, status.st_size)


@functools.cache
def _file_digest(path: Path, _changed_ns: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_cell(cell: Cell, dataset: Dataset, *, root: Path, cache: Path) -> None:
    """Train `cell` and write its folder. Raises what training raises, except TrainingDiverged."""
    with new_folder(root / cell.key) as folder:
        started, failure = time.monotonic(), None
        try:
            history, evaluation = train_cell(cell, dataset, cache=cache)
        except TrainingDiverged as error:
            failure = str(error)
        else:
            write_history(folder / "history.csv", history)
            write_evaluation(folder, evaluation, intervals=False)
        record = _record(cell, time.monotonic() - started, failure)
        (folder / "cell.json").write_text(json.dumps(record, indent=2) + "\n")


def train_cell(cell: Cell, dataset: Dataset, *, cache: Path) -> tuple[list[Epoch], Evaluation]:
    session = TrainingSession(cell.config, dataset)
    network = session.network()
    examples = session.for_head(session.examples(network, cache=cache))
    history = session.fit(network, examples)
    return history, session.evaluation(network, examples).of_classes


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


def read_cell(cell: Cell, root: Path) -> CellResult | None:
    """The result of `cell`; None if it has not been run."""
    folder = root / cell.key
    try:
        record = json.loads((folder / "cell.json").read_text())
    except FileNotFoundError:
        return None
    predictions = {} if record["failure"] else read_predictions(folder)
    return CellResult(cell, record["seconds"], predictions, record["failure"])


def _record(cell: Cell, seconds: float, failure: str | None) -> dict[str, Any]:
    return {
        "data": cell.data,
        "network": cell.network,
        "method": cell.method,
        "seed": cell.config.seed,
        "seconds": round(seconds, 2),
        "failure": failure,
        "fingerprint": cell.fingerprint,
        "config": cell.config.model_dump(mode="json"),
    }
