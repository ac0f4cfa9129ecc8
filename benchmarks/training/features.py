"""An epoch of training a head on cached features, and with the frozen backbone run for every batch.

Both epochs take the same steps on the same images; the second computes what the first reads from
disk. They alternate, and medians count. Images and weights are random, since speed does not depend
on them.

    python -m benchmarks.training.features
    python -m benchmarks.training.features --backbone torchvision/resnet50 --side 224 --images 256
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from docs.generators.markdown import table
from training.datasets import ArrayImages, Dataset, Split, SplitName, fingerprint
from training.fitting.step import Step
from training.networks.classifier import Classifier
from training.processes.distributed import Group
from training.runs.config import TrainConfig
from training.runs.session import TrainingSession

CLASSES = ("a", "b")
BATCH = 64
TURNS = 3


def random_data(count: int, side: int) -> Dataset:
    """Gray noise as a data set."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, side, side), dtype=np.uint8)
    split = Split(ArrayImages(pixels), np.arange(count) % 2)
    few = Split(ArrayImages(pixels[:2]), np.arange(2) % 2)
    splits: dict[SplitName, Split] = {"train": split, "val": few, "test": few}
    return Dataset("noise", CLASSES, 1, side, splits, fingerprint(CLASSES, splits))


def measure(backbone: str, *, side: int, images: int) -> tuple[float, float]:
    """Median seconds of an epoch on images and on cached features, in alternation."""
    config = TrainConfig(backbone=backbone, weights="none", image_size=side, batch_size=BATCH)
    dataset = random_data(images, side)
    session = TrainingSession(config, dataset)
    network = session.network()
    pixels = dataset.splits["train"].inputs(config.input_spec(dataset))
    labels = torch.from_numpy(dataset.splits["train"].labels)
    optimizer = torch.optim.Adam(network.head.parameters())
    step = Step(network.head, session.objective(), optimizer=optimizer, group=Group())
    uncached_s, cached_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        cached = session.examples(network, cache=Path(folder))["train"].inputs
        for _ in range(TURNS):
            read = (torch.from_numpy(cached[rows]) for rows in batches(images))
            cached_s.append(epoch_s(step, read, labels))
            computed = (features(network, pixels[rows]) for rows in batches(images))
            uncached_s.append(epoch_s(step, computed, labels))
    return median(uncached_s), median(cached_s)


def epoch_s(step: Step, inputs: Iterator[Tensor], labels: Tensor) -> float:
    """Seconds of a pass over all batches, each made when needed."""
    started = perf_counter()
    for rows, batch in zip(batches(len(labels)), inputs, strict=True):
        step(batch, labels[rows])
    return perf_counter() - started


def features(
    network: Classifier, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> Tensor:
    """Features of a batch, from the frozen backbone."""
    with torch.no_grad():
        return network.backbone(torch.from_numpy(pixels))


def batches(count: int) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Rows of each batch, shuffled as in training, so reads from disk are not sequential."""
    order = np.random.default_rng(0).permutation(count)
    return (order[start : start + BATCH] for start in range(0, count, BATCH))


def main() -> None:
    """Print the row of a backbone."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--images", type=int, default=512)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    uncached_s, cached_s = measure(chosen.backbone, side=chosen.side, images=chosen.images)
    figures = f"{uncached_s:.2f}", f"{cached_s:.2f}", f"{uncached_s / cached_s:.1f}"
    head = ("backbone", "epoch on images, s", "on cached features, s", "times as fast")
    print(table(head, [(chosen.backbone, *figures)]))


if __name__ == "__main__":
    main()
