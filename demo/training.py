"""The story's two models: cross-entropy and DCA, from the same start, on the best network that is at hand."""

from dataclasses import dataclass
from pathlib import Path

from training.backbones import SMALL, find_weights
from training.config import TrainConfig
from training.datasets import FoundDataset
from training.errors import WeightsNotFound
from training.progress import Progress
from training.run import RunResult, train

METHODS = ("ce", "dca")


@dataclass(frozen=True)
class TwoRuns:
    """Both runs, and what had to be said about the network."""

    ce: RunResult
    dca: RunResult
    note: str


def train_both(
    found: FoundDataset, *, data_folder: Path | None, out: Path, cache: Path, seed: int, progress: Progress
) -> TwoRuns:
    """Train both; without pretrained weights on a small network from scratch, and say so."""
    dataset = found.dataset
    scratch = TrainConfig.from_scratch(seed=seed)
    pretrained = TrainConfig(seed=seed)
    if found.origin == "digits":
        configs, note = scratch, "A small network is trained from scratch: digits need no pretrained one."
    else:
        weights = find_weights(pretrained.backbone, data_folder)
        configs = pretrained.model_copy(update={"weights": weights})
        note = f"Frozen features of {configs.backbone} (ImageNet), the paper's head on top."

    def run(config: TrainConfig, loss: str) -> RunResult:
        chosen = config.model_copy(update={"loss": loss})
        return train(chosen, dataset, out / loss, cache=cache / "features", progress=progress)

    try:
        first = run(configs, METHODS[0])
    except WeightsNotFound as error:
        configs, note = scratch, f"{error}. So {SMALL} is trained from scratch instead."
        first = run(configs, METHODS[0])
    return TwoRuns(first, run(configs, METHODS[1]), note)
