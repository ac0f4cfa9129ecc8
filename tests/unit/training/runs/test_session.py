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
    config = TrainConfig(head="pooled", heads=2, perturbed=True, **CHOICES)
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
    for other in ({"head": "paper"}, {"head": "pooled", "trainable": 1}):
        session = TrainingSession(TrainConfig(**CHOICES | other), dataset)
        examples = session.examples(session.network(), cache=tmp_path)
        assert session.for_head(examples) == examples


MODES: list[dict[str, Any]] = [{}, {"trainable": 1}, {"frozen": False}, {"augment": "light"}]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_heads_and_perturbed_images_work_in_every_mode(
    dataset: Dataset, tmp_path: Path, mode: dict[str, Any]
) -> None:
    config = TrainConfig(**CHOICES, **mode, heads=2, perturbed=True)
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
    assert len(evaluation.predictions["perturbed"].labels) == 7 * 32


def test_last_blocks_train_on_kept_features_as_they_do_on_images(
    dataset: Dataset, tmp_path: Path
) -> None:
    session = TrainingSession(TrainConfig(trainable=1, **CHOICES | {"epochs": 2}), dataset)
    ends = []
    for streams in (False, True):
        network = session.network()
        assert not session.streams(network)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingSession, "streams", lambda *_, streams=streams: streams)
            session.fit(network, session.examples(network, cache=tmp_path))
        ends.append(network.state_dict())
    for name, each in ends[0].items():
        torch.testing.assert_close(each, ends[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ({"frozen": False}, {}),
        ({"trainable": 1}, {"head": "pooled", "heads": 2}),
        ({"trainable": 1, "augment": "light"}, {"head": "pooled", "heads": 2}),
    ],
    ids=str,
)
def test_fine_tuning_starts_from_the_head_that_the_frozen_run_trains(
    dataset: Dataset, tmp_path: Path, mode: dict[str, Any], more: dict[str, Any]
) -> None:
    choices = CHOICES | more
    with pytest.raises(ValueError, match="share no features"):
        TrainConfig(**CHOICES, frozen=False, heads=2, probe_epochs=3)
    # The rest hardly moves, so its start is seen at its end.
    rates = {"probe_rate": 0.01, "learning_rate": 1e-9}
    tuned = TrainingSession(TrainConfig(**choices, **mode, **rates, probe_epochs=3), dataset)
    frozen = TrainingSession(TrainConfig(**choices | {"epochs": 3, "learning_rate": 0.01}), dataset)
    network, other = tuned.network(), frozen.network()
    seen: list[Epoch] = []
    found = tuned.fit(network, tuned.examples(network, cache=tmp_path), watch=seen.append)
    alone = frozen.fit(other, frozen.for_head(frozen.examples(other, cache=tmp_path)))
    for number in range(tuned.config.heads):
        own = [epoch for epoch in found if epoch.head == number]
        assert [epoch.epoch for epoch in own] == [1, 2, 3, 4]
        assert [epoch.kept for epoch in own] == [False, False, False, True]
        assert own[:3] == [replace(epoch, kept=False) for epoch in alone if epoch.head == number]
        solution = dict(other.members[number].named_parameters())
        for name, each in network.members[number].head.named_parameters():
            torch.testing.assert_close(each, solution[name], rtol=0, atol=1e-6)
    assert [(epoch.head, epoch.epoch) for epoch in seen] == [
        (epoch.head, epoch.epoch) for epoch in found
    ]


def test_a_run_that_was_killed_after_the_head_alone_ends_with_the_same_weights(
    dataset: Dataset, tmp_path: Path
) -> None:
    session = TrainingSession(TrainConfig(trainable=1, probe_epochs=2, **CHOICES), dataset)
    ends = []
    for killed in (False, True):
        network = session.network()
        examples = session.examples(network, cache=tmp_path)
        history = session.fit(
            network, examples, snapshot=lambda name: tmp_path / f"{name}.safetensors"
        )
        ends.append((history, {name: each.clone() for name, each in network.state_dict().items()}))
        if not killed:
            (tmp_path / "head-0.safetensors").unlink()
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(each, ends[1][1][name]) for name, each in ends[0][1].items())


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
    every = "strong+crop+blur+noise+erase+hflip+vflip+rot90"
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
