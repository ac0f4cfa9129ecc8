"""A stranger's folders, trained with the defaults, beside the best of four logistic regressions
that a person fits on the same features.

Each seed draws a folder and its splits, which are trained by `candor train FOLDER --seed N` in a
process of its own, and fitted by hand (by_hand.py) on the same splits and features.

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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.defaults.by_hand import Achieved, achieved, behind_by_chance, best, regressions
from benchmarks.defaults.folders import FOLDERS, GROUP_PATTERNS
from docs.generators.markdown import table
from training.datasets import load_dataset
from training.evaluation.evaluation import read_evaluation
from training.networks.backbones import find_weights
from training.runs.config import TrainConfig
from training.runs.steps import prepare

FIRST_SEED = 20  # smaller ones were looked at while the recipe was made
FLOOR_Z = 1.96  # standard deviations of the ECE of a calibrated model above its mean


class DefaultsRow(NamedTuple):
    """One folder with one seed: what the defaults achieve on test, and the best regressions."""

    folder: str
    seed: int
    images: int
    classes: int
    by_hand: tuple[float, float, float]
    defaults: Achieved
    by_chance: NDArray[np.float64]
    refused: bool

    @property
    def behind(self) -> int:
        """How many measures are worse by more than one standard error."""
        return int((self.defaults.leads(self.by_hand) < -1).sum())


def measure(folder: Path, seed: int, *, home: Path) -> DefaultsRow:
    """Train with the defaults, fit by hand, and measure both on test."""
    run, cache = home / "run", home / ".cache/candor"
    pattern = GROUP_PATTERNS.get(folder.name)
    dataset = load_dataset(str(folder), cache=cache, seed=seed, group_pattern=pattern)
    command = [sys.executable, "-m", "candor", "train", str(folder), "--seed", str(seed), "--json"]
    command += ["--out", str(run), *(("--group-pattern", pattern) if pattern else ())]
    done = subprocess.run(
        command, env=os.environ | {"HOME": str(home)}, check=True, stdout=subprocess.PIPE
    )
    features = prepare(dataset, default_config(), cache=cache / "features")
    pooled = {
        name: np.array(each.inputs).mean(axis=(2, 3)) for name, each in features.whole.items()
    }
    labels = {name: split.labels for name, split in dataset.splits.items()}
    fitted = [np.concatenate([each["train"], each["val"]]) for each in (pooled, labels)]
    classes, told = len(dataset.classes), json.loads(done.stdout)
    ours = read_evaluation(run).probabilities("test", "temperature")
    theirs = regressions((fitted[0], fitted[1]), (pooled["test"], labels["test"]), classes=classes)
    return DefaultsRow(
        folder=folder.name,
        seed=seed,
        images=sum(map(len, dataset.splits.values())),
        classes=classes,
        by_hand=best(theirs, labels["test"]),
        defaults=achieved(ours, labels["test"]),
        by_chance=behind_by_chance(ours, theirs, labels["test"]),
        refused=told["refused"],
    )


def default_config() -> TrainConfig:
    """The choices whose features `candor train` keeps in its cache."""
    backbone = TrainConfig().backbone
    return TrainConfig(weights=find_weights(backbone, Path(os.environ["CANDOR_DATA"])))


def line(rows: Sequence[DefaultsRow]) -> tuple[str, ...]:
    """A row of the table: means over the seeds of one folder."""
    first, defaults = rows[0], [row.defaults for row in rows]
    ours = (
        mean(each.accuracy for each in defaults),
        mean(each.balanced_accuracy for each in defaults),
        mean(each.nll for each in defaults),
    )
    theirs = [mean(row.by_hand[measure] for row in rows) for measure in range(3)]
    pairs = (f"{own:.3f}, {other:.3f}" for own, other in zip(ours, theirs, strict=True))
    behind, by_chance = (sum(row.behind for row in rows), sum(row.by_chance.sum() for row in rows))
    shown = [f"{behind} of {3 * len(rows)}", f"{by_chance:.1f}"]
    counts = (sum(each.ece_z < FLOOR_Z for each in defaults), sum(row.refused for row in rows))
    shown += [f"{count} of {len(rows)}" for count in counts]
    return first.folder, str(first.images), str(first.classes), *pairs, *shown


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
        for seed in range(FIRST_SEED, FIRST_SEED + chosen.seeds):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / name
                FOLDERS[name](folder, Path(os.environ["CANDOR_DATA"]), seed)
                rows.append(measure(folder, seed, home=Path(place)))
            print(rows[-1], file=sys.stderr, flush=True)
        lines.append(line(rows))
    head = ("folder", "images", "classes", "accuracy", "balanced accuracy", "NLL")
    head += ("behind", "behind by chance", "ECE at its floor", "refused")
    print(table(head, lines))


if __name__ == "__main__":
    main()
