"""The parts of a run: its features, and which weights change."""

import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.builders.datasets import shades
from training.datasets import ArrayImages, Dataset, Split
from training.fitting.history import Epoch
from training.networks.backbones import SMALL, weights_digest
from training.runs.config import TrainConfig
from training.runs.session import TrainingSession

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
    dataset: Dataset, tmp_path: Path
) -> None:
    config = TrainConfig(head="pooled", heads=2, **CHOICES)
    session = TrainingSession(config, dataset)
    network = session.network()
    whole = session.examples(network, cache=tmp_path)
    means = session.for_head(whole)
    assert {each.inputs[:1].shape[2:] for each in means.values()} == {(1, 1)}
    session.fit(network, means)
    logits = [
        session.evaluation(network, each).predictions["test"].logits for each in (means, whole)
    ]
    np.testing.assert_allclose(*logits, atol=1e-5)
    assert session.for_head(means)["test"].inputs[:].tobytes() == means["test"].inputs[:].tobytes()
    session = TrainingSession(TrainConfig(head="paper", **CHOICES), dataset)
    examples = session.examples(session.network(), cache=tmp_path)
    assert session.for_head(examples) == examples


MODES: list[dict[str, Any]] = [{}, {"frozen": False}, {"augment": "light"}]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_heads_work_in_every_mode(dataset: Dataset, tmp_path: Path, mode: dict[str, Any]) -> None:
    config = TrainConfig(**CHOICES, **mode, heads=2)
    session = TrainingSession(config, dataset)
    network = session.network()
    fixed, member = weights_digest(network.backbone), weights_digest(network.members[-1])
    examples = session.examples(network, cache=tmp_path)
    assert len(session.fit(network, examples)) == 2
    assert weights_digest(network.backbone) == fixed
    assert weights_digest(network.members[-1]) != member
    evaluation = session.evaluation(network, examples)
    inputs = dataset.splits["test"].inputs(session.config.input_spec(dataset))
    with torch.inference_mode():
        logits = network(torch.from_numpy(inputs))
    np.testing.assert_allclose(evaluation.predictions["test"].logits, logits, atol=1e-5)


@pytest.mark.slow
def test_images_are_not_held_in_memory(dataset: Dataset, tmp_path: Path) -> None:
    count, side = 300, 96
    split = Split(ArrayImages(np.zeros((count, 4, 4), np.uint8)), np.arange(count) % 2)
    many = replace(dataset, splits=dict.fromkeys(dataset.splits, split))
    session = TrainingSession(TrainConfig(frozen=False, image_size=side, **CHOICES), many)
    network = session.network()
    tracemalloc.start()
    try:
        examples = session.examples(network, cache=tmp_path)
        session.fit(network, examples)
        session.evaluation(network, examples)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < count * side * side  # a third of what all splits need


def test_an_interrupted_fit_with_augmentation_resumes_to_the_bit(
    dataset: Dataset, tmp_path: Path
) -> None:
    every = "strong+hflip+vflip+rot90"
    choices = CHOICES | {"epochs": 3, "frozen": False, "augment": every}
    session = TrainingSession(TrainConfig(**choices), dataset)

    def trained(snapshot: Path, *, stop: int = 0) -> str:
        def watch(epoch: Epoch) -> None:
            if epoch.epoch == stop:
                raise InterruptedError

        network = session.network()
        examples = session.examples(network, cache=tmp_path)
        with suppress(InterruptedError):
            session.fit(network, examples, snapshot=lambda _: snapshot, watch=watch)
        return weights_digest(network)

    whole = trained(tmp_path / "whole.safetensors")
    assert trained(tmp_path / "part.safetensors", stop=2) != whole
    assert trained(tmp_path / "part.safetensors") == whole
