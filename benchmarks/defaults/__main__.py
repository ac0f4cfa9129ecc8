"""A stranger's folders, trained with the defaults, beside the head that a careful person fits on
the same features.

Each folder is drawn into splits by each seed, trained by `candor train FOLDER --seed N` in a
process of its own, and fitted by hand (by_hand.py) on the same splits and features. The first seed
starts with an empty cache and is the one that is timed; the others find the features of the same
images in theirs. Differences are means over seeds, with half of a 95 % t interval.

    CANDOR_DATA=... python -m benchmarks.defaults
    CANDOR_DATA=... python -m benchmarks.defaults --folders rare stain --seeds 5 --recipe fixed
    --json FILE
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.defaults.by_hand import fit_by_hand
from benchmarks.defaults.folders import FOLDERS
from training.datasets import Dataset, load_dataset
from training.features.cache import FeatureCache
from training.networks.backbones import find_weights
from training.runs.config import TrainConfig, read_record
from training.runs.session import TrainingSession

Maps = NDArray[np.float32]


@dataclass(frozen=True)
class DefaultsRow:
    """One folder with one seed. ECE, floor and z are those of test after the temperature.

    `seconds` and `processor_s` are those of `candor train`, with its start and the features of all
    images; on a machine that does nothing else, they differ by the number of cores that are used.
    """

    folder: str
    seed: int
    images: int
    classes: int
    constant: float
    by_hand: float
    accuracy: float
    ece: float
    floor: float
    z: float
    seconds: float
    processor_s: float
    chosen: str
    head_by_hand: str


def measure(
    name: str,
    seed: int,
    *,
    folder: Path,
    home: Path,
    known: dict[bytes, Maps],
    arguments: Sequence[str],
) -> DefaultsRow:
    """Train with the defaults, fit by hand, and measure both on test; `known` has feature maps, and
    gets new ones.
    """
    run, cache = home / "run", home / ".cache/candor"
    dataset = load_dataset(str(folder), cache=cache, seed=seed)
    kept = features(dataset, cache)
    if known:
        fill(kept, known)
    command = [
        sys.executable,
        "-m",
        "candor",
        "train",
        str(folder),
        "--seed",
        str(seed),
        "--out",
        str(run),
        *arguments,
    ]
    started, before = perf_counter(), _processor_s()
    subprocess.run(command, env=os.environ | {"HOME": str(home)}, check=True, capture_output=True)
    seconds, processor_s = perf_counter() - started, _processor_s() - before
    for split_name, split in dataset.splits.items():
        known.update(zip(split.digests, np.array(kept.read(split_name)), strict=True))
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    measures, config = metrics["splits"]["test"]["temperature"], read_record(run).config
    pooled = {
        split_name: (
            np.stack([known[each] for each in split.digests]).mean(axis=(2, 3)),
            split.labels,
        )
        for split_name, split in dataset.splits.items()
    }
    hand = fit_by_hand(pooled, seed=seed)
    return DefaultsRow(
        folder=name,
        seed=seed,
        images=sum(map(len, dataset.splits.values())),
        classes=len(dataset.classes),
        constant=metrics["answers"]["test"]["constant_accuracy"],
        by_hand=hand.test_accuracy,
        accuracy=measures["accuracy"],
        ece=measures["ece"],
        floor=measures["noise_floor"],
        z=measures["ece_z"],
        seconds=seconds,
        processor_s=processor_s,
        chosen=f"{config.loss}, {config.head}, {config.learning_rate:g}, {config.class_weights}",
        head_by_hand=hand.head,
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


def _processor_s() -> float:
    """Processor time of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def half_interval(values: Sequence[float]) -> float:
    """Half of the 95 % t interval of a mean; NaN for one value."""
    if len(values) < 2:
        return float("nan")
    return float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


def line(rows: Sequence[DefaultsRow]) -> str:
    """A row of the table for the seeds of one folder."""
    first, leads = rows[0], [row.accuracy - row.by_hand for row in rows]
    figures = [
        f"{first.images}",
        f"{first.classes}",
        f"{mean(row.constant for row in rows):.3f}",
        f"{mean(row.by_hand for row in rows):.3f}",
        f"{mean(row.accuracy for row in rows):.3f}",
        f"{mean(leads):+.3f} ± {half_interval(leads):.3f}",
        f"{mean(row.ece for row in rows):.3f} / {mean(row.floor for row in rows):.3f}",
        f"{mean(row.z for row in rows):.1f}",
        f"{first.seconds:.0f}",
        f"{first.processor_s:.0f}",
    ]
    return f"| {first.folder} | {' | '.join(figures)} |"


COLUMNS = (
    "images",
    "classes",
    "constant",
    "by hand",
    "defaults",
    "difference",
    "ECE / floor",
    "z",
    "seconds",
    "CPU s",
)


def main() -> None:
    """Print a row per folder and optionally write JSON with a row per folder and seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folders", nargs="+", choices=list(FOLDERS), default=list(FOLDERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--first-seed", type=int, default=3, help="0 to 2 were looked at while the recipe was made"
    )
    parser.add_argument("--recipe", choices=("auto", "fixed"), default="auto")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    data = Path(os.environ["CANDOR_DATA"])
    found: list[DefaultsRow] = []
    print(f"| folder | {' | '.join(COLUMNS)} |")
    print(f"|---|{'---:|' * len(COLUMNS)}")
    for name in chosen.folders:
        rows: list[DefaultsRow] = []
        known: dict[bytes, Maps] = {}
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            FOLDERS[name](folder, data)
            for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
                home = Path(place) / f"home-{seed}"
                home.mkdir()
                arguments = ("--recipe", chosen.recipe)
                rows.append(
                    measure(name, seed, folder=folder, home=home, known=known, arguments=arguments)
                )
        print(line(rows), flush=True)
        found += rows
        if chosen.json:
            chosen.json.write_text(json.dumps([asdict(row) for row in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
