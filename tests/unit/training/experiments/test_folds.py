"""Folds: every image tested once, patients undivided, classes in each, and answers put together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.datasets import ArrayImages, Dataset, Split, fingerprint
from training.datasets.errors import BadDataset
from training.evaluation.evaluation import Predictions
from training.experiments.cell import Cell, CellResult
from training.experiments.folds import cross_validate, fold_table, folds_of
from training.experiments.runner import ExperimentRunner
from training.features.cache import FeatureCache
from training.networks.backbones import SMALL
from training.runs.config import TrainConfig
from training.runs.session import TrainingSession

CLASSES = ("a", "b")


def dataset(*, patients: int | None = None, count: int = 90) -> Dataset:
    generator = np.random.default_rng(0)
    splits: dict[Any, Split] = {}
    for number, (name, images) in enumerate((("train", count), ("val", 20), ("test", 30))):
        groups = None if patients is None else np.arange(images) % patients + number * patients
        labels = np.arange(images) % 2 if groups is None else groups % 2
        pixels = generator.integers(0, 200, (images, 16, 16)) + 55 * labels[:, None, None]
        splits[name] = Split(ArrayImages(pixels.astype(np.uint8)), labels.astype(np.int64), groups)
    return Dataset("small", CLASSES, 1, 16, splits, fingerprint(CLASSES, splits))


def digests(split: Split) -> set[bytes]:
    return set(split.digests)


@pytest.mark.parametrize("patients", [None, 12])
def test_every_image_is_tested_once_by_a_network_that_has_not_seen_it(patients: int | None) -> None:
    whole = dataset(patients=patients)
    folds = folds_of(whole, 5)
    everything = [each for split in whole.splits.values() for each in split.digests]
    tested = [each for fold in folds.values() for each in fold.splits["test"].digests]
    assert sorted(tested) == sorted(everything)
    for fold in folds.values():
        train, val, test = (fold.splits[name] for name in ("train", "val", "test"))
        assert len(train) + len(val) + len(test) == len(everything)
        assert not digests(test) & (digests(train) | digests(val))
        assert not digests(train) & digests(val)
        for split in (train, val, test):
            assert 0.3 < split.labels.mean() < 0.7
        if patients:
            seen = [
                set(split.groups.tolist())
                for split in (train, val, test)
                if split.groups is not None
            ]
            assert len(seen) == 3
            assert not (seen[0] & seen[1])
            assert not (seen[0] & seen[2])
            assert not (seen[1] & seen[2])
    assert len({fold.fingerprint for fold in folds.values()}) == 5
    again = folds_of(whole, 5)
    assert [each.fingerprint for each in again.values()] == [
        each.fingerprint for each in folds.values()
    ]


def test_the_same_image_twice_stays_in_one_fold() -> None:
    pixels = np.repeat(
        np.random.default_rng(0).integers(0, 255, (30, 8, 8), dtype=np.uint8), 2, axis=0
    )
    split = Split(ArrayImages(pixels), np.repeat(np.arange(30) % 2, 2))
    splits: dict[Any, Split] = dict.fromkeys(("train", "val", "test"), split)
    for fold in folds_of(Dataset("pairs", CLASSES, 1, 8, splits, "0" * 64), 3).values():
        kept = [digests(each) for each in fold.splits.values()]
        assert not (kept[0] & kept[1])
        assert not (kept[0] & kept[2])
        assert not (kept[1] & kept[2])


def test_more_folds_than_patients_of_a_class_are_refused() -> None:
    with pytest.raises(BadDataset, match="18 images or patients; expected 2 to 18 folds"):
        folds_of(dataset(patients=12), 19)


@pytest.mark.slow
def test_answers_of_all_folds_are_measured_together() -> None:
    random = np.random.default_rng(0)
    config = TrainConfig(backbone=SMALL, weights="none")

    def result(fold: int, *, count: int, right: float, method: str = "ce") -> CellResult:
        labels = np.arange(count) % 2
        answers = np.where(np.arange(count) < right * count, labels, 1 - labels)
        logits = (2.0 * np.eye(2)[answers] + random.normal(0, 0.01, (count, 2))).astype(np.float32)
        known = Predictions(logits, labels)
        return CellResult(
            Cell(f"fold {fold}", SMALL, method, config, str(fold)),
            0.0,
            {"val": known, "test": known},
        )

    found = cross_validate([result(1, count=100, right=0.9), result(2, count=60, right=0.5)])
    plain = next(each for each in found if each.calibrator == "none")
    assert plain.measures.accuracy == pytest.approx((90 + 30) / 160)
    assert plain.accuracies == (0.9, 0.5)
    assert plain.intervals["accuracy"].lower < 0.75 < plain.intervals["accuracy"].upper
    table = fold_table(found, dataset())
    assert table.rows[0][:2] == ("ce, none", ".750")
    assert "2 folds" in table.title
    better = [
        result(1, count=100, right=1.0, method="other"),
        result(2, count=60, right=0.5, method="other"),
    ]
    both = cross_validate(
        [result(1, count=100, right=0.9), result(2, count=60, right=0.5), *better]
    )
    gained = {each.method: each.gained for each in both if each.calibrator == "none"}
    assert (gained["ce"].mean, gained["ce"].half) == (0, 0)
    spread = np.repeat([1.0, 0.0], [10, 150])  # ten of 160 images are answered better
    assert (gained["other"].mean, gained["other"].half) == (
        10 / 160,
        round(1.96 * spread.std() / 160**0.5, 3),
    )


@pytest.mark.slow
def test_folds_are_trained_as_cells(tmp_path: Path) -> None:
    folds = folds_of(dataset(), 2)
    config = TrainConfig(
        loss="ce", backbone=SMALL, weights="none", epochs=2, batch_size=16, head_reduction=2
    )
    cells = [Cell(name, SMALL, "ce", config, fold.fingerprint) for name, fold in folds.items()]
    results, _ = ExperimentRunner(tmp_path / "out", tmp_path / "cache").run(cells, folds)
    (plain, *_) = cross_validate(results)
    assert (
        len(results[0].predictions["test"].labels) + len(results[1].predictions["test"].labels)
        == 140
    )
    assert plain.accuracies == tuple(
        float(
            (
                each.predictions["test"].logits.argmax(axis=1) == each.predictions["test"].labels
            ).mean()
        )
        for each in results
    )


@pytest.mark.slow
def test_features_of_each_image_are_computed_once_for_all_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    real = FeatureCache._features
    monkeypatch.setattr(
        FeatureCache,
        "_features",
        lambda self, inputs: (computed.append(len(inputs)), real(self, inputs))[1],
    )
    whole, config = (
        dataset(),
        TrainConfig(loss="ce", backbone=SMALL, weights="none", epochs=1, batch_size=16),
    )
    folds = folds_of(whole, 3)
    cells = [Cell(name, SMALL, "ce", config, fold.fingerprint) for name, fold in folds.items()]
    ExperimentRunner(tmp_path / "out", tmp_path / "cache").run(cells, folds)
    assert sum(computed) == sum(map(len, whole.splits.values())) == 140


def test_the_features_of_a_fold_are_those_of_its_images(tmp_path: Path) -> None:
    config = TrainConfig(loss="ce", backbone=SMALL, weights="none")
    for fold in folds_of(dataset(patients=12), 3).values():
        session = TrainingSession(config, fold)
        network = session.network()
        for name, examples in session.examples(network, cache=tmp_path).items():
            images = fold.splits[name].inputs(config.input_spec(fold))
            expected = network.backbone(torch.from_numpy(images)).numpy()
            np.testing.assert_allclose(
                examples.inputs[np.arange(len(images))], expected, rtol=1e-4, atol=1e-5
            )
            np.testing.assert_array_equal(examples.labels, fold.splits[name].labels)
