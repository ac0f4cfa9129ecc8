"""An epoch of training a head on cached features, and with the frozen backbone run for every batch.

Both epochs take the same steps on the same images; the second computes what the first reads from
disk. They alternate, and medians count. Images and weights are random, since speed does not depend
on them.

    python -m benchmarks.training.features
    python -m benchmarks.training.features --backbones torchvision/resnet50 --side 224 --images 256
    --json FILE
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from training.datasets import ArrayImages, Dataset, Split, SplitName, fingerprint
from training.fitting.step import Step
from training.networks.classifier import Classifier
from training.processes.distributed import Group
from training.runs.config import TrainConfig
from training.runs.session import TrainingSession

CLASSES = ("a", "b")
BATCH = 64


@dataclass(frozen=True)
class EpochTimes:
    """Median seconds of an epoch, the speed ratio of cached features, and the seconds of computing
    them once.
    """

    backbone: str
    side: int
    images: int
    uncached_s: float
    cached_s: float
    ratio: float
    first_s: float


def random_data(count: int, side: int) -> Dataset:
    """Gray noise as a data set."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, side, side), dtype=np.uint8)
    split = Split(ArrayImages(pixels), np.arange(count) % 2)
    few = Split(ArrayImages(pixels[:2]), np.arange(2) % 2)
    splits: dict[SplitName, Split] = {"train": split, "val": few, "test": few}
    return Dataset("noise", CLASSES, 1, side, splits, fingerprint(CLASSES, splits))


def measure(backbone: str, *, side: int, images: int, turns: int) -> EpochTimes:
    """Time both kinds of epoch in alternation."""
    config = TrainConfig(backbone=backbone, weights="none", image_size=side, batch_size=BATCH)
    dataset = random_data(images, side)
    session = TrainingSession(config, dataset)
    network = session.network()
    pixels = dataset.splits["train"].inputs(config.input_spec(dataset))
    labels = torch.from_numpy(dataset.splits["train"].labels)
    step = Step(
        network.head,
        session.objective(),
        optimizer=torch.optim.Adam(network.head.parameters()),
        group=Group(),
    )
    with tempfile.TemporaryDirectory() as folder:
        started = perf_counter()
        cached_features = session.examples(network, cache=Path(folder))["train"].inputs
        first_s = perf_counter() - started
        uncached, cached = [], []
        for _ in range(turns):
            cached.append(
                epoch_s(
                    step,
                    (torch.from_numpy(cached_features[rows]) for rows in batches(images)),
                    labels,
                )
            )
            uncached.append(
                epoch_s(step, (features(network, pixels[rows]) for rows in batches(images)), labels)
            )
    return EpochTimes(
        backbone,
        side,
        images,
        median(uncached),
        median(cached),
        median(uncached) / median(cached),
        first_s,
    )


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
    """Print a row per backbone and optionally write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["tf_efficientnet_lite0"])
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    rows = [
        measure(name, side=chosen.side, images=chosen.images, turns=chosen.turns)
        for name in chosen.backbones
    ]
    print(
        "| backbone | side | images | epoch uncached s | epoch cached s | times as fast | first s |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        figures = f"{row.uncached_s:.2f} | {row.cached_s:.2f} | {row.ratio:.1f} | {row.first_s:.1f}"
        print(f"| {row.backbone} | {row.side} | {row.images} | {figures} |")
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
