"""Features of frozen networks on real images: a set's own, others made of them, and far ones."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from sklearn.datasets import load_digits, load_sample_images

from model_store.bundle.scope import statistics
from model_store.image import InputSpec
from training.networks.classifier import build_classifier, draw_trunk
from training.networks.scope_taps import find_taps

SIDE = 224
Picture = Image.Image


def far_images(count: int, *, seed: int = 0) -> dict[str, list[Picture]]:
    """Noise, photographs, digits and blank images."""
    random = np.random.default_rng(seed)
    photographs = [Image.fromarray(each) for each in load_sample_images().images]
    corners = zip(random.integers(0, 440, count), random.integers(0, 227, count), strict=True)
    digits = (load_digits().images[:count] * 15.9).astype(np.uint8)
    noise = random.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    return {
        "noise": [Image.fromarray(each) for each in noise],
        "photographs": [
            photographs[number % 2].crop((int(x), int(y), int(x) + 200, int(y) + 200))
            for number, (x, y) in enumerate(corners)
        ],
        "digits": [Image.fromarray(each) for each in digits],
        "blank": [Image.new("L", (SIDE, SIDE), int(v)) for v in np.linspace(0, 250, count)],
    }


def on_a_screen(image: Picture) -> Picture:
    """A photograph of a screen: moire, a glare, noise, and a skewed frame."""
    random = np.random.default_rng(image.width * image.height)
    pixels = np.asarray(image.convert("RGB").resize((400, 400)), np.float32)
    y, x = np.mgrid[0:400, 0:400]
    period, angle = random.uniform(2.5, 4), random.uniform(0, 0.3)
    waves = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    waves = waves * np.sin(2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period)
    at = random.uniform(50, 350, 2)
    glare = 60 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 7200)
    shown = pixels * (1 + 0.12 * waves[..., None]) * (0.92, 1, 1.05) + glare[..., None]
    shown = np.clip(shown + random.normal(0, 4, shown.shape), 0, 255).astype(np.uint8)
    a, b, c, d = random.uniform(0, 28, 4)
    corners = (-a, -b, -c, 400 + d, 400 + a, 400 + b, 400 + c, -d)
    return Image.fromarray(shown).transform((400, 400), Image.Transform.QUAD, corners)


def with_text(image: Picture) -> Picture:
    """Text burned in, as on a screenshot of a viewer."""
    marked = image.convert("RGB")
    size = max(8, image.height // 12)
    font, draw = ImageFont.load_default(size=size), ImageDraw.Draw(marked)
    draw.text((image.width * 0.04, image.height * 0.04), "DOE JANE 1950", "white", font=font)
    draw.text((image.width * 0.6, image.height * 0.88), "R 120kV", "white", font=font)
    return marked


def jpeg(image: Picture, quality: int) -> Picture:
    """The image after lossy compression."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert(image.mode)


def windowed(image: Picture) -> Picture:
    """The wrong window: only the middle gray values are told apart."""
    pixels = np.asarray(image, np.float32)
    low, high = np.percentile(pixels, (45, 75))
    shown = (pixels - low) / max(high - low, 1) * 255
    return Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8))


def _crop(image: Picture) -> Picture:
    return image.crop((0, 0, image.width // 2, image.height // 2))


def _blurred(image: Picture) -> Picture:
    return image.filter(ImageFilter.GaussianBlur(max(image.size) / 75))


NEAR: dict[str, Callable[[Picture], Picture]] = {
    "inverted": ImageOps.invert,
    "rotated": lambda image: image.rotate(90, expand=True),
    "upside down": lambda image: image.rotate(180),
    "text": with_text,
    "cropped": _crop,
    "blurred": _blurred,
    "screen": on_a_screen,
    "JPEG 10": lambda image: jpeg(image, 10),
    "window": windowed,
}


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
