"""Features of frozen networks on real images: a set's own, others made of them, and far ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model_store.bundle.scope import statistics
from model_store.image import InputSpec
from tests.builders.scope_pictures import NEAR, Picture, far_images
from training.networks.classifier import build_classifier, draw_trunk
from training.networks.scope_taps import find_taps

OF_KIND, BATCH = 40, 16  # images
LITE0, WEIGHTS = "tf_efficientnet_lite0", "weights/tf_efficientnet_lite0.safetensors"
SOURCES = ("chest_xray3", "pneumoniamnist.npz", "small/bccd", "small/brain")


@dataclass(frozen=True)
class Subject:
    """A network and a set. Without `weights` they are random."""

    backbone: str
    source: str
    side: int
    weights: str | None = None


SUBJECTS = {
    "lite0 chest": Subject(LITE0, "chest_xray3", 224, WEIGHTS),
    "lite0 pneumonia": Subject(LITE0, "pneumoniamnist.npz", 112, WEIGHTS),
    "lite0 cells": Subject(LITE0, "small/bccd", 224, WEIGHTS),
    "lite0 brain": Subject(LITE0, "small/brain", 224, WEIGHTS),
    "resnet18 chest": Subject("resnet18", "chest_xray3", 112),
    "mobilenet cells": Subject("mobilenetv3_small_100", "small/bccd", 112),
    "small_conv pneumonia": Subject("small_conv", "pneumoniamnist.npz", 28),
}


class Features(NamedTuple):
    """Of N images: the last map's means (N, P), and what a scope check sees (N, F), the features of
    maps before those of the image.
    """

    pooled: NDArray[np.float32]
    seen: NDArray[np.float32]


class Measured(NamedTuple):
    """A subject's features by kind of image, the labels of its own, and how many features of `seen`
    are those of maps.
    """

    features: dict[str, Features]
    labels: dict[str, NDArray[Any]]
    maps: int


class Extractor:
    """A subject's frozen network."""

    def __init__(self, subject: Subject, data: Path) -> None:
        channels = 1 if subject.backbone == "small_conv" else 3
        spec = InputSpec(channels, subject.side, subject.side)
        self._mode, self._shape = "L" if channels == 1 else "RGB", (subject.side, subject.side)
        weights = data / subject.weights if subject.weights else "none"
        self._network = build_classifier(
            draw_trunk(subject.backbone, weights, seed=0),
            spec,
            class_count=2,
            reduction=8,
            frozen=True,
            seed=0,
            head="pooled",
        ).eval()
        self._taps = find_taps(self._network, spec)
        self.maps = 0

    def __call__(self, images: list[Picture]) -> Features:
        """The features of images of any size and mode."""
        parts = [
            self._batch(images[start : start + BATCH]) for start in range(0, len(images), BATCH)
        ]
        return Features(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    @torch.inference_mode()
    def _batch(self, images: list[Picture]) -> Features:
        shown = [
            np.asarray(image.convert(self._mode).resize(self._shape, Image.Resampling.BILINEAR))
            for image in images
        ]
        pixels = np.stack(shown).reshape(len(shown), *self._shape, -1).transpose(0, 3, 1, 2)
        pixels = np.ascontiguousarray(pixels)
        batch = torch.from_numpy(pixels)
        pooled = self._network.backbone(batch).mean(dim=(2, 3)).numpy()
        maps = self._taps(batch)[1].numpy() if self._taps else pooled[:, :0]
        self.maps = maps.shape[1]
        return Features(pooled, np.concatenate([maps, statistics(pixels)], axis=1))


def measured(subject: Subject, data: Path) -> Measured:
    """A subject's features: "fit", "calibrate" and "test" of its own images, and of other kinds."""
    images, labels, groups = read_images(data / subject.source)
    part = thirds(groups)
    at = {name: np.flatnonzero(part == number) for number, name in enumerate(PARTS)}
    kinds = {name: [images[each] for each in chosen] for name, chosen in at.items()}
    some = kinds["test"][:: max(1, len(kinds["test"]) // OF_KIND)][:OF_KIND]
    kinds |= {kind: [change(image) for image in some] for kind, change in NEAR.items()}
    for other in sorted({*SOURCES} - {subject.source}):
        kinds[f"of {other}"] = read_images(data / other, most=OF_KIND)[0][-OF_KIND:]
    extract = Extractor(subject, data)
    features = {kind: extract(chosen) for kind, chosen in (kinds | far_images(OF_KIND)).items()}
    return Measured(features, {name: labels[chosen] for name, chosen in at.items()}, extract.maps)


PARTS = ("fit", "calibrate", "test")


def read_images(path: Path, *, most: int = 1100) -> tuple[list[Picture], NDArray[Any], list[str]]:
    """Images, labels (N,) and groups of a set."""
    if path.suffix == ".npz":
        arrays = np.load(path)
        chosen = np.random.default_rng(0).permutation(len(arrays["train_images"]))[:most]
        images = [Image.fromarray(each) for each in arrays["train_images"][chosen]]
        return images, arrays["train_labels"][chosen].ravel(), [str(each) for each in chosen]
    base = path / "train" if (path / "train").exists() else path
    files = [file for file in sorted(base.rglob("*")) if file.is_file()]
    mode = "RGB" if "bccd" in path.name else "L"
    _, labels = np.unique([file.parent.name for file in files], return_inverse=True)
    groups = [file.name.partition("__")[0] for file in files]
    return [Image.open(file).convert(mode) for file in files], labels, groups


def thirds(groups: list[str]) -> NDArray[np.int64]:
    """0 to fit, 1 to calibrate or 2 to test, (N,); a group stays together."""
    names, at = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(1).permutation(len(names)) / len(names)
    return np.digitize(order, (0.5, 0.8))[at]
