"""Feature maps of a frozen backbone, computed once and kept on disk.

There is one memory-mapped .npy per split, in a folder named by everything the numbers depend on:
data fingerprint, backbone, hash of its weights, and input spec. A file is complete or absent. The
cache holds features of fixed images, so it excludes augmentation that changes with every epoch. It
can hold a few fixed views of each image (augmentation.py); each view costs as much time and disk as
the images themselves.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.image import InputSpec
from training.datasets import Dataset, Split, SplitName
from training.features.inputs import ChosenInputs, NetworkInputs
from training.features.transform import UNCHANGED, ImageTransform
from training.networks.backbones import weights_digest
from training.networks.classifier import Backbone
from training.progress import Progress, silent

BATCH_SIZE = 64
FORMAT = 1  # raise it when a change of code changes the numbers


class FeatureCache:
    """Feature maps of one data set and one frozen backbone, in a folder below `root`."""

    def __init__(
        self,
        root: Path,
        *,
        dataset: Dataset,
        backbone_name: str,
        backbone: Backbone,
        spec: InputSpec,
    ) -> None:
        self.root = root
        self.backbone = backbone
        self.dataset = dataset
        self.spec = spec
        self._about = (backbone_name, weights_digest(backbone))
        self.folder = self._folder(dataset.fingerprint)

    def read(
        self, name: SplitName, *, transform: ImageTransform = UNCHANGED, progress: Progress = silent
    ) -> NetworkInputs:
        """Feature maps of split `name`, memory-mapped float32 (N, ...); computed if they are not
        cached.

        They are features of the images after `transform`. Those of a part, such as a fold, are rows
        of the features of the whole, which are computed once: a frozen backbone learns nothing from
        them.
        """
        split = self.dataset.splits[name]
        if split.part is None:
            return self._read(split, self.folder / name, transform, progress)
        whole, rows = split.part.whole, split.part.rows
        return ChosenInputs(
            self._read(whole, self._folder(whole.content) / "all", transform, progress), rows
        )

    def _folder(self, fingerprint: str) -> Path:
        return self.root / _key(fingerprint, *self._about, self.spec)

    def _read(
        self, split: Split, place: Path, transform: ImageTransform, progress: Progress
    ) -> NDArray[np.float32]:
        kind = "-".join(filter(None, (place.name, transform.name)))
        path = place.with_name(f"{kind}.npy")
        if not path.is_file():
            stage = f"features {kind.replace('-', ' ')}"
            self._compute(path, split, transform=transform, stage=stage, progress=progress)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _compute(
        self, path: Path, split: Split, *, transform: ImageTransform, stage: str, progress: Progress
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}-{os.getpid()}.part")
        shape = (len(split), *self.backbone.feature_shape(self.spec))
        try:
            rows = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
            for start in range(0, len(split), BATCH_SIZE):
                stop = min(start + BATCH_SIZE, len(split))
                inputs = split.inputs(self.spec, start=start, stop=stop)
                rows[start:stop] = self._features(transform.apply(inputs, np.arange(start, stop)))
                progress(stage, stop, len(split))
            rows.flush()
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _features(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return (
                self.backbone(torch.from_numpy(inputs).to(self.backbone.mean.device)).cpu().numpy()
            )


def _key(fingerprint: str, backbone: str, digest: str, spec: InputSpec) -> str:
    parts = [FORMAT, fingerprint, backbone, digest, dataclasses.asdict(spec)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
