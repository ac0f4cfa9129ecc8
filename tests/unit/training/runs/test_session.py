"""The parts of a run: its features, and which weights change."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.datasets import ArrayImages, Dataset, Split, fingerprint
from training.networks.backbones import SMALL, weights_digest
from training.runs.config import TrainConfig
from training.runs.session import TrainingSession, trained_module

CHOICES: dict[str, Any] = {"backbone": SMALL, "weights": "none", "epochs": 1, "batch_size": 16, "head_reduction": 2}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    generator = np.random.default_rng(0)
    splits: dict[Any, Split] = {
        name: Split(ArrayImages(generator.integers(0, 255, (32, 16, 16), dtype=np.uint8)), np.arange(32) % 2)
        for name in ("train", "val", "test")
    }
    return Dataset("noise", ("a", "b"), 1, 16, splits, fingerprint(("a", "b"), splits))


def test_only_the_training_split_has_views(dataset: Dataset, tmp_path: Path) -> None:
    session = TrainingSession(TrainConfig(views=3, **CHOICES), dataset)
    network = session.network()
    examples = session.examples(network, cache=tmp_path)
    assert {name: len(each.views) for name, each in examples.items()} == {"train": 2, "val": 0, "test": 0}
    history = session.fit(network, examples)
    plain = TrainingSession(TrainConfig(**CHOICES), dataset)
    other = plain.network()
    assert plain.fit(other, plain.examples(other, cache=tmp_path))[0].train_loss != history[0].train_loss


@pytest.mark.parametrize(("trainable", "moved"), [(0, False), (1, True)])
def test_only_trainable_parts_of_a_backbone_change(
    dataset: Dataset, tmp_path: Path, trainable: int, moved: bool
) -> None:
    session = TrainingSession(TrainConfig(trainable=trainable, **CHOICES), dataset)
    network = session.network()
    before = weights_digest(network.backbone)
    examples = session.examples(network, cache=tmp_path)
    assert (examples["val"].inputs.dtype == np.uint8) == moved
    session.fit(network, examples)
    assert (weights_digest(network.backbone) != before) == moved
    evaluation = session.evaluation(network, examples)
    with torch.inference_mode():
        logits = trained_module(network)(torch.from_numpy(np.array(examples["test"].inputs)))
    np.testing.assert_allclose(evaluation.predictions["test"].logits, logits, atol=1e-5)


@pytest.mark.parametrize("choice", [{"heads": 2}, {"views": 2}])
def test_choices_that_need_cached_features_need_a_frozen_backbone(choice: dict[str, int]) -> None:
    for moving in ({"frozen": False}, {"trainable": 1}):
        with pytest.raises(ValueError, match="freeze"):
            TrainConfig(**CHOICES, **choice, **moving)
