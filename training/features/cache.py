"""Feature maps of a frozen backbone, computed once and kept on disk.

There is one memory-mapped .npy per split, in a folder named by everything the numbers depend on:
data fingerprint, backbone, hash of its weights, and input spec. A file is complete or absent. The
cache holds features of fixed images, so it excludes augmentation that changes with every epoch.
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
from training.networks.backbones import weights_digest
from training.networks.classifier import Backbone, shape_of
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
        self.backbone = backbone
        self.dataset = dataset
        self.spec = spec
        digest = weights_digest(backbone)
        parts = [FORMAT, dataset.fingerprint, backbone_name, digest, dataclasses.asdict(spec)]
        self.folder = root / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def read(self, name: SplitName, *, progress: Progress = silent) -> NDArray[np.float32]:
        """Feature maps of split `name`, memory-mapped float32 (N, ...); computed if they are not
        cached.
        """
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            self._compute(
                path, self.dataset.splits[name], stage=f"features {name}", progress=progress
            )
        features: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        return features

    def _compute(self, path: Path, split: Split, *, stage: str, progress: Progress) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}-{os.getpid()}.part")
        shape = (len(split), *shape_of(self.backbone, self.spec))
        try:
            rows = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
            for start in range(0, len(split), BATCH_SIZE):
                stop = min(start + BATCH_SIZE, len(split))
                rows[start:stop] = self._features(split.inputs(self.spec, start=start, stop=stop))
                progress(stage, stop, len(split))
            rows.flush()
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _features(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            images = torch.from_numpy(inputs).to(self.backbone.mean.device)
            return self.backbone(images).cpu().numpy()
