"""Features of a run's images for the scope check of its bundles: `scope.npz` in the run folder.

Training images describe what is usual, validation images calibrate: the network has not learned
them, so their features are like those of new images.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.bundle.scope import MOST_CALIBRATED, MOST_FITTED, ScopeFeatures
from model_store.bundle.scope_graph import statistics
from model_store.image import InputSpec
from training.datasets import Dataset, Split
from training.features.inputs import StreamedImages
from training.fitting.examples import STREAMED_AT_ONCE, predict
from training.networks.scope_taps import ScopeTaps, find_taps
from training.processes.execution import Execution
from training.runs.folder import read_of_run

FILE = "scope.npz"


def scope_features(
    network: nn.Module, dataset: Dataset, spec: InputSpec, *, device: torch.device
) -> ScopeFeatures:
    """Compute the features, in this process alone."""
    module, execution = _FeaturesAlone(find_taps(network.eval(), spec)), Execution(device=device)

    def features(split: Split, images: int) -> NDArray[np.float32]:
        chosen = StreamedImages(split, spec, split.spread(images))
        return predict(module, chosen, execution=execution, at_once=STREAMED_AT_ONCE)

    fitted = features(dataset.splits["train"], MOST_FITTED)
    calibrated = features(dataset.splits["val"], MOST_CALIBRATED)
    return ScopeFeatures(fitted, calibrated, module.maps)


def write_scope(folder: Path, features: ScopeFeatures) -> None:
    np.savez(folder / FILE, **asdict(features))


def read_scope(folder: Path) -> ScopeFeatures:
    """The features of a run. Raises BadRun."""
    with read_of_run(folder / FILE) as path, path.open("rb") as stream:
        found = np.load(stream, allow_pickle=False)
        return ScopeFeatures(found["fitted"], found["calibrated"], int(found["maps"]))


class _FeaturesAlone(nn.Module):
    """Means of maps, of which it counts the features, and statistics of the image."""

    def __init__(self, taps: ScopeTaps | None) -> None:
        super().__init__()
        self.taps, self.maps = taps, 0

    def forward(self, image: Tensor) -> Tensor:
        own = torch.from_numpy(statistics(image.cpu().numpy())).to(image.device)
        if self.taps is None:
            return own
        shown = self.taps(image)[1]
        self.maps = shown.shape[1]
        return torch.cat([shown.float(), own], dim=1)
