"""The four functions of a run, changed images, and the folder that it leaves."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.builders.datasets import shades
from training.datasets import ArrayImages, Dataset, Split
from training.errors import (
    BadChoice,
    DeviceNotFound,
    OutOfMemory,
    RunBusy,
    RunDiffers,
    RunExists,
    TrainingDiverged,
    UnknownName,
)
from training.features.augmentation import CHANGES, Augmentation
from training.networks.backbones import SMALL, weights_digest
from training.networks.heads import BlendedHead
from training.processes.distributed import Group
from training.processes.execution import find_device, out_of_memory
from training.runs.committee import fit_committee
from training.runs.config import TrainConfig
from training.runs.folder import open_run_folder, run_folder_of
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
    config = TrainConfig(**CHOICES, frozen=False, heads=2, learning_rate=1e-9)
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


NUMBERS = np.arange(30)


@pytest.fixture
def images() -> NDArray[np.uint8]:
    """Images that are bright on the left and dark on the right."""
    ramp = np.linspace(250, 5, 24).astype(np.uint8)
    return np.tile(ramp, (len(NUMBERS), 3, 24, 1))


def test_a_change_depends_on_seed_epoch_and_image_alone() -> None:
    for name in CHANGES:
        apply = Augmentation(name).apply
        images = np.random.default_rng(0).integers(
            0, 256, (len(NUMBERS), 3, 112, 112), dtype=np.uint8
        )
        first = apply(images, NUMBERS, epoch=(0, 1))
        assert (first.shape, first.dtype) == (images.shape, np.uint8)
        np.testing.assert_array_equal(
            first[[7, 3]], apply(images[[7, 3]], NUMBERS[[7, 3]], epoch=(0, 1))
        )
        assert (first != apply(images, NUMBERS, epoch=(0, 2))).any()
        assert (first != apply(images, NUMBERS, epoch=(1, 1))).any()
        assert apply(images[:0], NUMBERS[:0], epoch=(0, 1)).shape == (0, 3, 112, 112)


def test_nothing_is_mirrored_unless_asked(images: NDArray[np.uint8]) -> None:
    def left_is_brighter(name: str) -> float:
        changed = Augmentation(name).apply(images, NUMBERS, epoch=(0, 1)).astype(float)
        return float(
            (changed[..., :8].mean(axis=(1, 2, 3)) > changed[..., -8:].mean(axis=(1, 2, 3))).mean()
        )

    asked = {"hflip", "rot90"}
    assert {name for name in CHANGES if left_is_brighter(name) < 1} == asked
    assert 0.2 < left_is_brighter("hflip") < 0.8


def test_changes_are_joined_in_order(images: NDArray[np.uint8]) -> None:
    joined = Augmentation("light+hflip").apply(images, NUMBERS, epoch=(0, 1))
    light = Augmentation("light").apply(images, NUMBERS, epoch=(0, 1))
    mirrored = np.array(
        [(one == np.flip(other, 2)).all() for one, other in zip(joined, light, strict=True)]
    )
    same = np.array([(one == other).all() for one, other in zip(joined, light, strict=True)])
    assert (mirrored ^ same).all()
    assert 0 < mirrored.sum() < len(NUMBERS)


def test_an_unknown_name_is_refused_before_training() -> None:
    with pytest.raises(UnknownName, match="'flip'; choose one of: light, strong"):
        Augmentation("light+flip")
    with pytest.raises(ValueError, match="'flip'; choose one of"):
        TrainConfig(augment="light+flip")


REQUEST = {"epochs": 3, "loss": "dca"}


def begin(out: Path) -> None:
    """Leave the files of a killed process."""
    with open_run_folder(out, REQUEST) as folder:
        folder.snapshot("head-0").write_bytes(b"snapshot")


def test_another_request_is_refused_or_starts_over(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    with (
        pytest.raises(RunDiffers, match=r"epochs 3 then, 4 now.*restart=True"),
        open_run_folder(tmp_path / "run", REQUEST | {"epochs": 4}),
    ):
        pass
    with open_run_folder(tmp_path / "run", REQUEST | {"epochs": 4}, restart=True) as folder:
        assert not folder.begun
        folder.snapshot("head-0").write_bytes(b"other")
    with open_run_folder(tmp_path / "run", REQUEST | {"epochs": 4}) as folder:
        assert folder.begun


def test_a_run_that_diverged_is_removed(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    with pytest.raises(TrainingDiverged), open_run_folder(tmp_path / "run", REQUEST):
        raise TrainingDiverged(epoch=2, loss=float("nan"), learning_rate=1.0)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_cannot_train_one_run(tmp_path: Path) -> None:
    with open_run_folder(tmp_path / "run", REQUEST) as folder:
        with (
            pytest.raises(RunBusy, match="another process"),
            open_run_folder(tmp_path / "run", REQUEST),
        ):
            pass
        assert folder.part.is_dir()
    assert run_folder_of(tmp_path / "run") == folder
    (tmp_path / "run").mkdir()
    with pytest.raises(RunExists), open_run_folder(tmp_path / "run", REQUEST):
        pass


def test_a_missing_device_is_refused() -> None:
    alone = Group(device=torch.device("cpu"))
    assert find_device("auto", alone) == find_device("cpu", alone) == torch.device("cpu")
    with pytest.raises(DeviceNotFound, match=r"device=.cpu"):
        find_device("cuda", alone)
    second = Group(1, 2, torch.device("cuda", 1))
    assert find_device("auto", second) == find_device("cuda", second) == torch.device("cuda", 1)
    assert find_device("cpu", second) == torch.device("cpu")


def test_running_out_of_memory_is_recognized() -> None:
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)
    assert "micro_batch=16" in str(OutOfMemory(batch_size=64, micro_batch=32))
    assert "micro_batch=32" in str(OutOfMemory(batch_size=64, micro_batch=None))
