"""Steps 1 and 2: train two models on the best network at hand, compare them, and export one."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from calibration.document import FigureTable, Heading, Part
from calibration.figures import MEASURES_COLUMNS, figure, measures_row
from candor.demo.session import DemoSession
from model_store.store.samples import Sample, write_samples
from training.datasets import Dataset
from training.errors import WeightsNotFound
from training.evaluation.calibrators import Method
from training.evaluation.predictions import EVALUATED
from training.networks.backbones import find_weights
from training.progress import Progress
from training.runs.config import TrainConfig, offline_config
from training.runs.export import ExportedModel, export
from training.runs.run import RunResult, train

SAMPLES: Final = 6
CALIBRATORS: dict[Method, str] = {"none": "", "temperature": " + temperature"}


@dataclass(frozen=True)
class TwoRuns:
    """The run with cross-entropy, the run with DCA, and a note on the network that both use."""

    ce: RunResult
    dca: RunResult
    note: str


def train_both(
    dataset: Dataset,
    *,
    weights_folder: Path | None,
    out: Path,
    cache: Path,
    seed: int,
    progress: Progress,
) -> TwoRuns:
    """Train both runs into `out`; without pretrained weights, a small random network."""

    def run(config: TrainConfig) -> RunResult:
        return train(
            config, dataset, out / config.loss, cache=cache / "features", progress=progress
        )

    if dataset.layout != "arrays":
        backbone = TrainConfig().backbone
        weights = find_weights(backbone, weights_folder)
        ce, dca = (TrainConfig(loss=loss, seed=seed, weights=weights) for loss in ("ce", "dca"))
        try:
            return TwoRuns(
                run(ce),
                run(dca),
                f"Network: {backbone}, pretrained and frozen, with the paper's head.",
            )
        except WeightsNotFound as error:
            reason = f"{error}. "
    else:
        reason = ""
    ce, dca = (offline_config(loss=loss, seed=seed) for loss in ("ce", "dca"))
    return TwoRuns(
        run(ce),
        run(dca),
        f"{reason}Network: {ce.backbone} with random, frozen weights, and the paper's head.",
    )


def show_training(session: DemoSession, runs: TwoRuns) -> Iterator[Part]:
    """Step 1: how accurate and how calibrated both runs are, with and without a temperature."""
    yield Heading("1. Train")
    yield (
        "Two models start from the same weights. One is trained with cross-entropy, the other with "
        "DCA, which also penalizes the difference between confidence and accuracy."
    )
    for split in EVALUATED:
        rows, figures = [], {}
        for loss, title, run in (("ce", "cross-entropy", runs.ce), ("dca", "DCA", runs.dca)):
            for method, suffix in CALIBRATORS.items():
                evaluation = run.evaluation.of_classes
                measures = evaluation.measures[split][method].as_dict()
                temperature = evaluation.temperature if method == "temperature" else 1.0
                rows.append([*measures_row(f"{title}{suffix}", measures), figure(temperature)])
                figures[f"{loss}_{method}"] = measures | {"temperature": temperature}
        session.figures[f"train_{split}"] = figures
        yield FigureTable(split, (*MEASURES_COLUMNS, "T"), rows)
    yield (
        "ECE is the mean distance between confidence and accuracy. With this many labels even a "
        "perfectly calibrated model would show the ECE in the floor column. Gap is mean confidence "
        "minus accuracy: above 0 the model is overconfident. T is the temperature."
    )
    yield comparison(session.figures["train_test"])
    yield f"Reliability diagrams: {session.out / 'runs'}/*/plots/reliability_*.png"


def comparison(test: Mapping[str, Mapping[str, Any]]) -> str:
    """Say what this run shows of the two losses on test, each with its temperature."""
    ce, dca = test["ce_temperature"], test["dca_temperature"]
    better = (
        ("a lower ECE", dca["ece"] < ce["ece"]),
        ("a higher accuracy", dca["accuracy"] > ce["accuracy"]),
    )
    ahead = [name for name, holds in better if holds]
    return (
        "With a temperature, DCA has "
        f"{' and '.join(ahead) or 'neither a lower ECE nor a higher accuracy'} here than "
        "cross-entropy. Another "
        "seed may show the opposite: docs/results.md compares the two over five seeds."
    )


def publish(session: DemoSession, run: RunResult) -> Generator[Part, None, ExportedModel]:
    """Step 2: publish the run as version 1 and put it into production."""
    exported = export(run.folder, session.store, session.model)
    session.store.promote(session.model, exported.version)
    folder = session.store.folder(session.model, exported.version)
    files = ", ".join(f"{path.name} {_size(path)}" for path in sorted(folder.iterdir()))
    offer_samples(session)
    yield Heading("2. Export")
    yield (
        f"The DCA model is now version {exported.version} of {session.model}, and in production: "
        f"{folder}"
    )
    yield f"Files: {files}."
    yield (
        f"torch and ONNX Runtime differ by at most {exported.verification.max_difference:.1e} in "
        f"probability on {exported.verification.images} real images."
    )
    session.figures["export"] = exported.verification.model_dump(
        include={"max_difference", "images"}
    )
    return exported


def offer_samples(session: DemoSession) -> None:
    """Put some test images of each class beside the model, for those who try it in a browser."""
    split, classes = session.dataset.splits["test"], session.dataset.classes
    each = max(1, SAMPLES // len(classes))
    samples = [
        Sample(f"{name} {place}", split.images.encoded(int(at)))
        for number, name in enumerate(classes[:SAMPLES])
        for place, at in enumerate(np.flatnonzero(split.labels == number)[:each], start=1)
    ]
    write_samples(session.store.storage, session.model, samples)


def _size(file: Path) -> str:
    size_bytes = file.stat().st_size
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.0f} kB"
