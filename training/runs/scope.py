"""Features of a run's images for the scope check of its bundles: `scope.npz` in the run folder.

Training images describe what is usual, validation images calibrate: the network has not learned
them, so their features are like those of new images.
"""

import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.bundle.scope_fit import (
    MOST_CALIBRATED,
    MOST_FITTED,
    ScopeCheck,
    ScopeFeatures,
    fit_scope,
)
from model_store.image import InputSpec
from training.datasets import Dataset, Split
from training.datasets.dataset import evenly_spread
from training.errors import BadRun
from training.evaluation.evaluation import Evaluation, Method
from training.features.inputs import StreamedImages
from training.fitting.examples import STREAMED_AT_ONCE, predict
from training.networks.scope_taps import ScopeTaps, find_taps
from training.processes.execution import Execution
from training.runs.config import RunRecord

FILE = "scope.npz"


def scope_features(
    network: nn.Module, dataset: Dataset, spec: InputSpec, *, device: torch.device
) -> ScopeFeatures | None:
    """Compute the features, in this process alone; None if the network shows none."""
    taps = find_taps(network.eval(), spec)
    if taps is None:
        return None
    module, execution = _FeaturesAlone(taps), Execution(device=device)

    def features(split: Split, images: int) -> NDArray[np.float32]:
        chosen = _Chosen(StreamedImages(split, spec), np.array(split.spread(images)))
        return predict(module, chosen, execution=execution, at_once=STREAMED_AT_ONCE)

    return ScopeFeatures(
        features(dataset.splits["train"], MOST_FITTED),
        features(dataset.splits["val"], MOST_CALIBRATED),
        taps.described,
    )


def write_scope(folder: Path, features: ScopeFeatures | None) -> None:
    """Write the features, if there are any."""
    if features is not None:
        np.savez(folder / FILE, **asdict(features))


def read_scope(folder: Path) -> ScopeFeatures | None:
    """The features of a run; None if its network shows none. Raises BadRun."""
    if not (folder / FILE).exists():
        return None
    try:
        with np.load(folder / FILE, allow_pickle=False) as found:
            return ScopeFeatures(found["fitted"], found["calibrated"], str(found["described"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadRun(f"{folder / FILE} cannot be read ({error})") from error


def scope_check(
    run: Path, evaluation: Evaluation, calibrator: Method, record: RunRecord
) -> ScopeCheck | None:
    """The scope check of a run's bundle; None without features. Raises BadRun."""
    features = read_scope(run)
    if features is None:
        return None
    images = sum(record.counts["val"])  # with folds, they follow the training images
    predicted = evaluation.probabilities("val", calibrator)[-images:].argmax(axis=1)
    chosen = predicted[evenly_spread(len(predicted), MOST_CALIBRATED)]
    return fit_scope(features, split="val", classes=record.classes, predicted=chosen)


class _FeaturesAlone(nn.Module):
    def __init__(self, taps: ScopeTaps) -> None:
        super().__init__()
        self.taps = taps

    def forward(self, image: Tensor) -> Tensor:
        return self.taps(image)[1]


class _Chosen:
    """Some of the images, by their numbers."""

    def __init__(self, images: StreamedImages, numbers: NDArray[np.int64]) -> None:
        self._images, self._numbers = images, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._images[self._numbers[places]]
