"""On few images every one validates once, by a network that has not seen it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model_store.store.store import Store
from tests.builders.datasets import shades
from tests.builders.finding_sets import write_npz
from training.datasets import Dataset, load_dataset
from training.errors import BadRun
from training.evaluation.findings import FindingsEvaluation
from training.networks.backbones import SMALL
from training.networks.heads import BlendedHead
from training.runs.config import TrainConfig
from training.runs.export import export, load_classifier
from training.runs.folds import draw_folds
from training.runs.run import RunResult, train

CHOICES: dict[str, Any] = {
    "backbone": SMALL,
    "weights": "none",
    "loss": "ce",
    "batch_size": 16,
    "image_size": 32,
    "select": "val_nll",
    "epochs": 6,
    "head": "pooled",
    "learning_rate": 1e-2,
    "heads": 4,
    "validation": "folds",
}
FOLDED = TrainConfig.model_validate(CHOICES)
IMAGES = 165  # of train and val


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return shades()


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train(FOLDED, dataset, tmp_path_factory.mktemp("runs") / "run", pictures=False)


def relabeled(dataset: Dataset) -> Dataset:
    """The same images with labels drawn at random."""
    generator = np.random.default_rng(1)
    return replace(
        dataset,
        splits={
            name: replace(split, labels=generator.permutation(split.labels))
            for name, split in dataset.splits.items()
        },
    )


def test_no_answer_of_validation_knows_its_label(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks that learn random labels by heart are no better than chance out of fold."""
    monkeypatch.setattr("training.networks.heads.DROPOUT", 0.0)
    choices = {"epochs": 60, "select": "last", "heads": 2}
    config = FOLDED.model_copy(update=choices)
    learned = train(config, relabeled(dataset), tmp_path / "run", pictures=False)
    assert max(each.train_accuracy for each in learned.history) > 0.6
    val = learned.evaluation.predictions["val"]
    assert len(val.labels) == IMAGES
    assert (val.logits.argmax(axis=1) == val.labels).mean() < 0.45


def test_every_image_validates_once_and_patients_stay_together(dataset: Dataset) -> None:
    patients = {
        name: replace(split, groups=np.arange(len(split)) // 5 + 100 * at)
        for at, (name, split) in enumerate(dataset.splits.items())
    }
    folds = draw_folds(replace(dataset, splits=patients), 4, seed=0)
    assert sorted(np.concatenate(folds).tolist()) == list(range(IMAGES))
    of_patient = np.concatenate([patients[name].groups for name in ("train", "val")])
    assert sum(len(np.unique(of_patient[fold])) for fold in folds) == len(np.unique(of_patient))
    with pytest.raises(BadRun, match="make no 40 folds: give fewer heads"):
        draw_folds(replace(dataset, splits=patients), 40, seed=0)


def test_a_killed_run_resumes_to_the_bit(run: RunResult, dataset: Dataset, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, _total: int, /, **_: float) -> None:
        if "head 3 of 4" in stage and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(FOLDED, dataset, tmp_path / "run", progress=interrupt, pictures=False)
    again = train(FOLDED, dataset, tmp_path / "run", pictures=False)
    for name in ("checkpoint.safetensors", "history.csv", "metrics.json", "predictions.npz"):
        assert (again.folder / name).read_bytes() == (run.folder / name).read_bytes(), name


def test_a_blended_head_is_the_mean_of_its_parts(dataset: Dataset, tmp_path: Path) -> None:
    config = FOLDED.model_copy(update={"head": "blend", "heads": 2, "epochs": 2})
    done = train(config, dataset, tmp_path / "run", pictures=False)
    network = load_classifier(done.folder)
    features = network.backbone(torch.from_numpy(np.load(done.folder / "samples.npy")))
    member = network.members[0]
    assert isinstance(member, BlendedHead)
    parts = [member.pooled(features), member.linear(features.mean(dim=(2, 3)))]
    whole = torch.stack([each.softmax(dim=1) for each in parts]).mean(dim=0)
    torch.testing.assert_close(member(features).softmax(dim=1), whole)
    assert {(each.head, each.epoch) for each in done.history} == {
        (head, epoch) for head in range(2) for epoch in (1, 2)
    }
    card = export(done.folder, Store(tmp_path / "store"), "brightness", anyway=True).card
    assert card.verification.max_difference < 1e-4
    with pytest.raises(ValidationError):
        TrainConfig.model_validate(CHOICES | {"head": "blend", "frozen": False})


def test_findings_validate_once_each_and_calibrate_out_of_fold(tmp_path: Path) -> None:
    write_npz(tmp_path / "set.npz", 200, blanks=0.2)
    findings = load_dataset(tmp_path / "set.npz")
    train_labels, val_labels = (findings.splits[name].labels for name in ("train", "val"))
    labels = np.concatenate([train_labels, val_labels])
    positives = [(labels[fold] == 1).sum(axis=0) for fold in draw_folds(findings, 4, seed=0)]
    assert np.ptp(positives, axis=0).max() <= 2  # of each finding
    config = FOLDED.model_copy(update={"epochs": 1})
    done = train(config, findings, tmp_path / "run", pictures=False)
    assert isinstance(done.evaluation, FindingsEvaluation)
    val = done.evaluation.predictions["val"]
    np.testing.assert_array_equal(val.labels, labels)
    store = Store(tmp_path / "store")
    card = export(done.folder, store, "digits", anyway=True).card
    known = (~np.isnan(labels)).sum(axis=0).tolist()
    assert [each.labeled for each in card.findings or ()] == known
