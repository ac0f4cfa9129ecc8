"""The story's two models: cross-entropy and DCA, from the same start, on the best network that is at hand."""

from dataclasses import dataclass
from pathlib import Path

from training.datasets import FoundDataset
from training.errors import WeightsNotFound
from training.networks.backbones import find_weights
from training.progress import Progress
from training.runs.config import TrainConfig, offline_config
from training.runs.run import RunResult, train


@dataclass(frozen=True)
class TwoRuns:
    """Both runs, and what has to be said about their network."""

    ce: RunResult
    dca: RunResult
    note: str


def train_both(
    found: FoundDataset, *, weights_folder: Path | None, out: Path, cache: Path, seed: int, progress: Progress
) -> TwoRuns:
    """Train both runs into `out`; without pretrained weights on a small network's random features, as `note` says."""

    def run(config: TrainConfig) -> RunResult:
        return train(config, found.dataset, out / config.loss, cache=cache / "features", progress=progress)

    if found.origin != "digits":
        backbone = TrainConfig().backbone
        weights = find_weights(backbone, weights_folder)
        ce, dca = (TrainConfig(loss=loss, seed=seed, weights=weights) for loss in ("ce", "dca"))
        try:
            return TwoRuns(run(ce), run(dca), f"Network: {backbone}, pretrained and frozen; on it the paper's head.")
        except WeightsNotFound as error:
            reason = f"{error}. "
    else:
        reason = ""
    ce, dca = (offline_config(loss=loss, seed=seed) for loss in ("ce", "dca"))
    return TwoRuns(run(ce), run(dca), f"{reason}Network: random features of {ce.backbone}; on it the paper's head.")
