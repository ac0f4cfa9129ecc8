"""One training run of a search, of which only the figures on validation are kept; test is not even
predicted.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.bins import BinSums
from calibration.calibrators.temperature import softmax
from calibration.measures.metrics import accuracy, ece, of_true_class, signed_gap, top_label
from training.datasets import Dataset
from training.errors import TrainingDiverged
from training.experiments.cell import Cell, new_folder
from training.experiments.choice import EvaluationSet
from training.experiments.runner import Job
from training.experiments.shared_examples import shared_examples
from training.runs.session import TrainingSession


@dataclass(frozen=True)
class TrialResult:
    """The figures of a trial without a calibrator, by evaluation set; none if it diverged, as
    `failure` says.
    """

    cell: Cell
    seconds: float
    figures: Mapping[EvaluationSet, Mapping[str, float]]
    failure: str | None = None


def run_trial(cell: Cell, dataset: Dataset, *, root: Path, cache: Path) -> None:
    """Train `cell` and store its figures below `root`. Raises what training raises, except
    TrainingDiverged.
    """
    started, figures, failure = time.monotonic(), {}, None
    try:
        figures = _figures(cell, dataset, cache=cache)
    except TrainingDiverged as error:
        failure = str(error)
    record = {
        "data": cell.data,
        "network": cell.network,
        "method": cell.method,
        "seed": cell.config.seed,
        "seconds": round(time.monotonic() - started, 2),
        "failure": failure,
        "figures": figures,
        "config": cell.config.model_dump(mode="json"),
    }
    with new_folder(root / cell.key) as folder:
        (folder / "trial.json").write_text(json.dumps(record, indent=2) + "\n")


def read_trial(cell: Cell, root: Path) -> TrialResult | None:
    """The result of `cell`; None if it has not been run."""
    try:
        record = json.loads((root / cell.key / "trial.json").read_text())
    except FileNotFoundError:
        return None
    return TrialResult(cell, record["seconds"], record["figures"], record["failure"])


TRIALS: Job[TrialResult] = Job("trials", run_trial, read_trial)


def _figures(cell: Cell, dataset: Dataset, *, cache: Path) -> dict[str, dict[str, float]]:
    session = TrainingSession(cell.config, dataset)
    network = session.network()
    examples = shared_examples(session, network, cache=cache)
    session.fit(network, examples)
    found = {}
    for name in ("val", "perturbed"):
        if name in examples:
            probabilities = softmax(session.answers(session.whole(network), examples[name]))
            found[name] = _measured(probabilities, examples[name].labels)
    return found


def _measured(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    confidence, predicted = top_label(probabilities)
    sums = BinSums.from_predictions(confidence, predicted == labels)
    truth = np.maximum(of_true_class(probabilities, labels), np.finfo(np.float64).tiny)
    return {
        "ece": ece(sums),
        "accuracy": accuracy(sums),
        "nll": float(-np.log(truth).mean()),
        "signed_gap": signed_gap(sums),
    }
