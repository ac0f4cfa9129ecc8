"""What bundles of a run know of its images.

    scope.npz             features for the scope check
    training_images.bin   hashes of the images that the network has seen
    samples.npy           a few validation inputs, for checking an export

In the scope check, training images describe what is usual, and validation images calibrate: the
network has not learned them, so their features are like those of new images.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.bundle.card import InputReference
from model_store.bundle.scope import MOST_CALIBRATED, MOST_FITTED, ScopeFeatures, statistics
from model_store.image import InputSpec
from model_store.image.brightness import brightness
from model_store.image.training_digests import DIGEST_FILE, KEY_BYTES, MOST_DIGESTS, TrainingDigests
from training.datasets import Dataset, Split
from training.features.inputs import StreamedImages
from training.fitting.examples import STREAMED_AT_ONCE, predict
from training.networks.scope_taps import ScopeTaps, find_taps
from training.processes.execution import Execution
from training.runs.folder import read_of_run

SCOPE, SAMPLES = "scope.npz", "samples.npy"
SAMPLE_IMAGES = 32
REFERENCE_IMAGES = 4096  # validation images whose brightness is measured, at most


def write_references(
    folder: Path, network: nn.Module, dataset: Dataset, spec: InputSpec, device: torch.device
) -> None:
    """Write the files, in this process alone."""
    features = scope_features(network, dataset, spec, device=device)
    np.savez(folder / SCOPE, **asdict(features))
    (folder / DIGEST_FILE).write_bytes(_digests(dataset, spec).as_bytes())
    np.save(folder / SAMPLES, _samples(dataset.splits["val"], spec))


def read_samples(folder: Path) -> NDArray[np.uint8]:
    """The inputs uint8 (n, C, H, W) of a run. Raises BadRun."""
    with read_of_run(folder / SAMPLES) as path:
        return np.load(path, allow_pickle=False)


def read_digests(folder: Path) -> TrainingDigests:
    """The hashes of a run. Raises BadRun."""
    with read_of_run(folder / DIGEST_FILE) as path:
        return TrainingDigests.from_bytes(path.read_bytes())


def scope_features(
    network: nn.Module, dataset: Dataset, spec: InputSpec, *, device: torch.device
) -> ScopeFeatures:
    """Those of training and validation images."""
    module, execution = _FeaturesAlone(find_taps(network.eval(), spec)), Execution(device=device)

    def features(split: Split, images: int) -> NDArray[np.float32]:
        chosen = StreamedImages(split, spec, split.spread(images))
        return predict(module, chosen, execution=execution, at_once=STREAMED_AT_ONCE)

    fitted = features(dataset.splits["train"], MOST_FITTED)
    calibrated = features(dataset.splits["val"], MOST_CALIBRATED)
    return ScopeFeatures(fitted, calibrated, module.maps)


def read_scope(folder: Path) -> ScopeFeatures:
    """The features of a run. Raises BadRun."""
    with read_of_run(folder / SCOPE) as path, path.open("rb") as stream:
        found = np.load(stream, allow_pickle=False)
        return ScopeFeatures(found["fitted"], found["calibrated"], int(found["maps"]))


def _samples(split: Split, spec: InputSpec) -> NDArray[np.uint8]:
    """A few inputs, spread over the split so that every class is likely included."""
    return np.stack([split.images.input(index, spec) for index in split.spread(SAMPLE_IMAGES)])


def _digests(dataset: Dataset, spec: InputSpec) -> TrainingDigests:
    """Of inputs for training and validation, spread over them if there are too many."""
    splits = [dataset.splits[name] for name in ("train", "val")]
    total = sum(map(len, splits))
    images = (
        split.images.input(index, spec)
        for split in splits
        for index in split.spread(len(split) * min(MOST_DIGESTS, total) // total)
    )
    key = hashlib.sha256(dataset.fingerprint.encode()).digest()[:KEY_BYTES]
    return TrainingDigests.of(images, key=key)


def input_reference(split: Split, spec: InputSpec) -> InputReference:
    """Brightness of the network's inputs, over at most REFERENCE_IMAGES spread over the split."""
    images = split.spread(REFERENCE_IMAGES)
    measured = [brightness(split.images.input(index, spec)[np.newaxis]) for index in images]
    return InputReference.from_brightness(np.concatenate(measured))


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
