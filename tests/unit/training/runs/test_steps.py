"""The four functions of a run: features, and which weights change."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders.datasets import shades
from training.datasets import ArrayImages, Dataset, Split
from training.errors import BadChoice
from training.features.augmentation import Augmentation
from training.networks.backbones import SMALL, weights_digest
from training.networks.heads import BlendedHead
from training.runs.committee import fit_committee
from training.runs.config import TrainConfig
from training.runs.steps import fit, predict, prepare

CHOICES: dict[str, Any] = {
    "backbone": SMALL,
    "weights": "none",
    "epochs": 1,
    "batch_size": 16,
    "head_reduction": 2,
}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return shades(("a", "b"), (32, 32, 32))


@pytest.mark.slow
def test_the_pooled_head_learns_from_means_of_the_maps_and_takes_whole_ones(
    dataset: Dataset,
) -> None:
    config = TrainConfig(head="pooled", heads=2, **CHOICES)
    features = prepare(dataset, config)
    means = features.examples(config)
    assert {each.inputs[:1].shape[2:] for each in means.values()} == {(1, 1)}
    model = fit_committee(features, config)
    whole = torch.from_numpy(np.array(features.whole["test"].inputs))
    with torch.inference_mode():
        logits = model.network.head(whole)
    known = predict(model, features)["test"]
    np.testing.assert_allclose(known.logits, logits, atol=1e-5)
    paper = TrainConfig(head="paper", **CHOICES)
    assert features.examples(paper) == dict(features.whole)


@pytest.mark.parametrize("several", [{"heads": 2}, {"head": "blend"}], ids=str)
def test_fit_takes_the_choices_of_one_network(dataset: Dataset, several: dict[str, Any]) -> None:
    config = TrainConfig(**CHOICES, **several)
    with pytest.raises(BadChoice, match="fit_committee"):
        fit(prepare(dataset, config), config)


@pytest.mark.slow
def test_images_are_not_held_in_memory(dataset: Dataset) -> None:
    count, side = 300, 96
    split = Split(ArrayImages(np.zeros((count, 4, 4), np.uint8)), np.arange(count) % 2)
    many = replace(dataset, splits=dict.fromkeys(dataset.splits, split))
    config = TrainConfig(frozen=False, image_size=side, **CHOICES)
    prepare(many, config)  # what is imported and built the first time
    tracemalloc.start()
    try:
        features = prepare(many, config)
        predict(fit(features, config), features)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < count * side * side  # a third of what all splits need


def test_a_blend_gives_all_classes_the_same_weight(dataset: Dataset) -> None:
    uneven = replace(dataset.splits["train"], labels=(np.arange(32) % 4 == 0).astype(np.int64))
    config = TrainConfig(**CHOICES, loss="ce", head="pooled")
    features = prepare(replace(dataset, splits={**dataset.splits, "train": uneven}), config)
    changes = [{"class_weights": "natural"}, {"class_weights": "balanced"}, {"head": "blend"}]
    natural, balanced, blend = (
        fit_committee(features, config.model_copy(update=each)).network.head for each in changes
    )
    assert isinstance(blend, BlendedHead)
    assert weights_digest(blend.pooled) == weights_digest(balanced) != weights_digest(natural)


def test_whole_networks_start_from_random_weights_of_their_own(dataset: Dataset) -> None:
    config = TrainConfig(**CHOICES, frozen=False, heads=2, learning_rate=1e-12)
    network = fit_committee(prepare(dataset, config), config).network
    first, second = (next(each.parameters()) for each in network.members)
    assert not torch.equal(first, second)


def test_each_epoch_of_a_seed_sees_other_changes(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def apply(_self: Augmentation, inputs: Any, _numbers: Any, *, epoch: tuple[int, int]) -> Any:
        seen.append(epoch)
        return inputs

    monkeypatch.setattr(Augmentation, "apply", apply)
    config = TrainConfig(**CHOICES | {"epochs": 2}, augment="light", seed=5)
    fit(prepare(dataset, config), config)
    assert set(seen) == {(5, 1), (5, 2)}
