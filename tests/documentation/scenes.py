"""What the reader of a page has already: a store, images, tables, files of predictions."""

import csv
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from candor.demo.sample import publish_sample
from model_store.store import Store
from tests.builders.bundles import (
    build_bundle,
    color_weights,
    encode,
    foreign_onnx,
    labeled_folder,
    linear,
    picture,
)
from tests.builders.datasets import write_images
from tests.builders.dicoms import dicom
from tests.documentation.commands import ROOT

CLASSES = ("normal", "pneumonia")


def chest(folder: Path, versions: int = 3) -> None:
    """A store with versions of a model, the first in production; scan.png, scan-1.png, scan-2.dcm
    and x-ray.png.
    """
    store = Store(folder / "model_store/models")
    for seed in range(versions):
        store.publish("chest", partial(build_bundle, name="chest", classes=CLASSES, seed=seed))
    store.promote("chest", 1)
    for file in ("scan.png", "scan-1.png", "x-ray.png"):
        (folder / file).write_bytes(encode(picture(), "PNG"))
    (folder / "scan-2.dcm").write_bytes(dicom(np.zeros((8, 8), dtype=np.uint16)))


def sample(folder: Path) -> None:
    """The sample model of `candor traffic` in production."""
    publish_sample(Store(folder / "model_store/models"))


def answers_of_another(folder: Path) -> None:
    """Answers of a model that Candor does not serve, and their labels."""
    classes = ("healthy", "mild", "severe")
    rows = [
        (f"scan-{number:04}", classes[number % 3], 0.6 + number % 4 / 10) for number in range(40)
    ]
    _table(folder / "answers.csv", ("request_id", "predicted", "confidence"), rows)
    _table(
        folder / "labels.csv", ("request_id", "label"), [(key, classes[0]) for key, _, _ in rows]
    )


def newcomer(folder: Path) -> None:
    """What the first page of README.md takes: predictions with labels, or a model with labeled
    images.
    """
    predictions(folder)
    foreign(folder)


def foreign(folder: Path) -> None:
    """classifier.onnx of another tool and labeled images; images that it will be asked, with their
    labels.
    """
    foreign_onnx(
        folder / "classifier.onnx", linear("Softmax"), constants={"weights": color_weights()}
    )
    labeled_folder(folder / "labeled", images=40)
    (folder / "new").mkdir()
    rows = []
    for image in sorted(labeled_folder(folder / "others").rglob("*.png")):
        name = f"{image.parent.name}_{image.name}"
        image.rename(folder / "new" / name)
        rows.append((name, image.parent.name))
    _table(folder / "labels.csv", ("file", "label"), rows)


def foreign_pair(folder: Path) -> None:
    """classifier.onnx of two classes, and labeled images."""
    foreign_onnx(
        folder / "classifier.onnx",
        linear("Softmax"),
        constants={"weights": color_weights()[:, :2].copy()},
    )
    labeled_folder(folder / "labeled", ("benign", "malignant"), images=40)


def predictions(folder: Path) -> None:
    """predictions.csv: 200 rows of a model that is too sure."""
    random = np.random.default_rng(0)
    positive = random.uniform(0.02, 0.98, 200)
    label = np.where(random.uniform(size=200) < 0.3 + 0.4 * positive, "ill", "healthy")
    rows = zip((1 - positive).round(4), positive.round(4), label, strict=True)
    _table(folder / "predictions.csv", ("p_healthy", "p_ill", "label"), rows)


def data(folder: Path) -> None:
    """A folder of images with splits."""
    for split, count in (("train", 24), ("val", 12), ("test", 12)):
        for at, name in enumerate(CLASSES):
            write_images(folder / "images" / split / name, count, mode="L")
            for file in (folder / "images" / split / name).iterdir():
                pixels = np.asarray(Image.open(file)) // 2 + 100 * at
                Image.fromarray(pixels.astype(np.uint8)).save(file)


def clone(folder: Path) -> None:
    """What a clone holds beside the code: manifests, rules, and the build's files."""
    for name in ("deploy", "monitoring"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.py")
        )


def digits_image(folder: Path) -> None:
    """scan.png."""
    (folder / "scan.png").write_bytes(encode(picture(mode="L"), "PNG"))


def _table(file: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(head)
        writer.writerows(rows)
