"""A stranger's folders, trained with the defaults, beside the head that a careful person fits on
the same features.

Each folder is drawn into splits by each seed, trained by `candor train FOLDER --seed N` in a
process of its own, and fitted by hand (by_hand.py) on the same splits and features. The first seed
computes the features, the others find those of the same images.

    CANDOR_DATA=... python -m benchmarks.defaults --folders rare stain --seeds 5
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.defaults.by_hand import fit_by_hand
from benchmarks.defaults.folders import FOLDERS
from docs.generators.markdown import table
from training.datasets import Dataset, load_dataset
from training.features.cache import FeatureCache
from training.networks.backbones import find_weights
from training.runs.config import TrainConfig
from training.runs.session import TrainingSession

Maps = NDArray[np.float32]
FIRST_SEED = 3  # 0 to 2 were looked at while the recipe was made


class DefaultsRow(NamedTuple):
    """One folder with one seed, and the shares of test on which the defaults and the head by hand
    are right.
    """

    folder: str
    seed: int
    images: int
    classes: int
    by_hand: float
    defaults: float


def measure(folder: Path, seed: int, *, home: Path, known: dict[bytes, Maps]) -> DefaultsRow:
    """Train with the defaults, fit by hand, and measure both on test; `known` has feature maps, and
    gets new ones.
    """
    run, cache = home / "run", home / ".cache/candor"
    dataset = load_dataset(str(folder), cache=cache, seed=seed)
    kept = features(dataset, cache)
    if known:
        fill(kept, known)
    command = [sys.executable, "-m", "candor", "train", str(folder), "--seed", str(seed)]
    command += ["--out", str(run)]
    subprocess.run(command, env=os.environ | {"HOME": str(home)}, check=True, capture_output=True)
    for split_name, split in dataset.splits.items():
        known.update(zip(split.digests, np.array(kept.read(split_name)), strict=True))
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    pooled = {
        split_name: (
            np.stack([known[digest] for digest in split.digests]).mean(axis=(2, 3)),
            split.labels,
        )
        for split_name, split in dataset.splits.items()
    }
    return DefaultsRow(
        folder=folder.name,
        seed=seed,
        images=sum(map(len, dataset.splits.values())),
        classes=len(dataset.classes),
        by_hand=fit_by_hand(pooled, seed=seed).test_accuracy,
        defaults=metrics["splits"]["test"]["temperature"]["accuracy"],
    )


def features(dataset: Dataset, cache: Path) -> FeatureCache:
    """The cache in which `candor train` keeps the features of `dataset`."""
    config = TrainConfig()
    config = config.model_copy(
        update={"weights": find_weights(config.backbone, Path(os.environ["CANDOR_DATA"]))}
    )
    session = TrainingSession(config, dataset)
    return FeatureCache(
        cache / "features",
        dataset=dataset,
        backbone_name=config.backbone,
        backbone=session.network().backbone,
        spec=config.input_spec(dataset),
    )


def fill(kept: FeatureCache, known: dict[bytes, Maps]) -> None:
    """Write the feature maps that are `known` by the content of the image into the cache."""
    kept.folder.mkdir(parents=True)
    for name, split in kept.dataset.splits.items():
        np.save(kept.folder / f"{name}.npy", np.stack([known[each] for each in split.digests]))


def line(rows: Sequence[DefaultsRow]) -> tuple[str, ...]:
    """A row of the table for the seeds of one folder."""
    first = rows[0]
    by_hand, defaults = mean(row.by_hand for row in rows), mean(row.defaults for row in rows)
    leads = ", ".join(f"{row.defaults - row.by_hand:+.3f}" for row in rows)
    sizes = str(first.images), str(first.classes)
    return first.folder, *sizes, f"{by_hand:.3f}", f"{defaults:.3f}", leads


def main() -> None:
    """Print a row per folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folders", nargs="+", choices=list(FOLDERS), default=list(FOLDERS))
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    lines = []
    for name in chosen.folders:
        rows: list[DefaultsRow] = []
        known: dict[bytes, Maps] = {}
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            FOLDERS[name](folder, Path(os.environ["CANDOR_DATA"]))
            for seed in range(FIRST_SEED, FIRST_SEED + chosen.seeds):
                home = Path(place) / f"home-{seed}"
                home.mkdir()
                rows.append(measure(folder, seed, home=home, known=known))
        lines.append(line(rows))
    head = ("folder", "images", "classes", "by hand", "defaults", "difference by seed")
    print(table(head, lines))


if __name__ == "__main__":
    main()
