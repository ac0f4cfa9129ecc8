"""A stranger's folders, trained with the defaults, beside the head that a careful person fits on the same features.

Each folder is drawn into splits by each seed, trained by `candor train FOLDER --seed N` in a process of its own with an
empty cache, and fitted by hand (by_hand.py) on the same splits and features. Differences are means over seeds, with
half of a 95 % t interval.

    CANDOR_DATA=... python -m benchmarks.defaults
    CANDOR_DATA=... python -m benchmarks.defaults --folders rare stain --seeds 5 --recipe fixed --json FILE
"""

import argparse
import json
import os
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
from scipy.stats import t as student

from benchmarks.defaults.by_hand import fit_by_hand
from benchmarks.defaults.folders import FOLDERS
from training.datasets import load_dataset
from training.features.cache import FeatureCache
from training.networks.classifier import build_classifier
from training.runs.config import read_record


@dataclass(frozen=True)
class DefaultsRow:
    """One folder with one seed. ECE, floor and z are those of test after the temperature."""

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
    chosen: str
    head_by_hand: str


def measure(name: str, seed: int, *, folder: Path, home: Path, arguments: Sequence[str]) -> DefaultsRow:
    """Train with the defaults, fit by hand, and measure both on test."""
    run = home / "run"
    environment = os.environ | {"HOME": str(home)}
    command = [sys.executable, "-m", "candor", "train", str(folder), "--seed", str(seed), "--out", str(run), *arguments]
    started = perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = perf_counter() - started
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    measures, config = metrics["splits"]["test"]["temperature"], read_record(run).config
    hand = fit_by_hand(pooled(folder, run, home / ".cache/candor", seed=seed), seed=seed)
    return DefaultsRow(
        folder=name,
        seed=seed,
        images=sum(map(sum, read_record(run).counts.values())),
        classes=len(read_record(run).classes),
        constant=metrics["answers"]["test"]["constant_accuracy"],
        by_hand=hand.test_accuracy,
        accuracy=measures["accuracy"],
        ece=measures["ece"],
        floor=measures["noise_floor"],
        z=measures["ece_z"],
        seconds=seconds,
        chosen=f"{config.loss}, {config.head}, {config.learning_rate:g}",
        head_by_hand=hand.head,
    )


def pooled(folder: Path, run: Path, cache: Path, *, seed: int) -> dict[str, Any]:
    """Features (N, C) and labels of each split, from the maps that training has left in `cache`."""
    dataset, record = load_dataset(str(folder), cache=cache, seed=seed), read_record(run)
    config = record.config
    network = build_classifier(
        config.backbone,
        config.weights,
        spec=record.spec,
        class_count=len(record.classes),
        reduction=config.head_reduction,
        frozen=True,
        seed=config.seed,
    )
    maps = FeatureCache(
        cache / "features",
        dataset=dataset,
        backbone_name=config.backbone,
        backbone=network.backbone,
        spec=record.spec,
    )
    return {
        name: (np.asarray(maps.read(name)).mean(axis=(2, 3)), split.labels) for name, split in dataset.splits.items()
    }


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
        f"{max(row.seconds for row in rows):.0f}",
    ]
    return f"| {first.folder} | {' | '.join(figures)} |"


HEADER = """| folder | images | classes | constant | by hand | defaults | difference | ECE / floor | z | seconds |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


def main() -> None:
    """Print a row per folder and optionally write JSON with a row per folder and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", nargs="+", choices=list(FOLDERS), default=list(FOLDERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", choices=("auto", "fixed"), default="auto")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    data = Path(os.environ["CANDOR_DATA"])
    found: list[DefaultsRow] = []
    print(HEADER)
    for name in chosen.folders:
        rows = []
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            FOLDERS[name](folder, data)
            for seed in range(chosen.seeds):
                home = Path(place) / f"home-{seed}"
                home.mkdir()
                rows.append(measure(name, seed, folder=folder, home=home, arguments=("--recipe", chosen.recipe)))
        print(line(rows), flush=True)
        found += rows
        if chosen.json:
            chosen.json.write_text(json.dumps([asdict(row) for row in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
