"""The recipe `auto`, the four functions of a run, changed images, and the folder that it leaves."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.builders.datasets import labeled, shades
from tests.builders.finding_sets import write_npz
from training.datasets import ArrayImages, Dataset, Split, load_dataset
from training.errors import (
    BadChoice,
    DeviceNotFound,
    RunBusy,
    RunDiffers,
    RunExists,
    UnknownName,
)
from training.features.augmentation import CHANGES, Augmentation
from training.networks.backbones import SMALL, weights_digest
from training.networks.heads import BlendedHead
from training.processes.distributed import Group
from training.processes.execution import find_device
from training.runs.committee import fit_committee
from training.runs.config import TrainConfig
from training.runs.folder import open_run_folder, run_folder_of
from training.runs.recipe import MIN_STEPS, automatic, chooses_loss
from training.runs.steps import fit, predict, prepare


@pytest.mark.parametrize(
    ("images", "epochs", "heads", "rates"),
    [
        (20, 400, {("pooled", 3)}, 1),
        (64, 400, {("pooled", 3)}, 1),
        (225, 100, {("pooled", 3)}, 1),
        (500, 50, {("pooled", 3)}, 2),
        (2000, 13, {("pooled", 3), ("paper", 1)}, 3),
        (4708, 12, {("pooled", 3), ("paper", 1)}, 3),
        (8000, 12, {("paper", 1)}, 1),
    ],
)
def test_steps_heads_and_rates_follow_the_number_of_images(
    images: int, epochs: int, heads: set[tuple[str, int]], rates: int
) -> None:
    plan = automatic(labeled(images // 2, images - images // 2)).candidates
    assert {(each.epochs, each.select) for each in plan} == {(epochs, "val_nll")}
    assert epochs * -(-images // plan[0].batch_size) >= MIN_STEPS
    assert {(each.head, each.heads) for each in plan} == heads
    assert len({each.learning_rate for each in plan}) == rates
    assert {(each.loss, each.class_weights) for each in plan} == {
        ("dca", "natural"),
        ("ce", "natural"),
    }
    assert len(set(map(str, plan))) == len(plan)


def test_imbalance_adds_balanced_weights_and_says_why() -> None:
    plan = automatic(labeled(200, 10))
    assert [each.class_weights for each in plan.candidates].count("balanced") == 1
    assert any("20 times the images of the smallest" in reason for reason in plan.reasons)
    assert any("100 epochs" in reason or "epochs, not 12" in reason for reason in plan.reasons)
    assert not any("times the images" in reason for reason in automatic(labeled(100, 110)).reasons)
    assert "blend" not in {each.head for each in plan.candidates}  # equal images make no folds


def test_where_images_are_few_a_regression_is_blended_in() -> None:
    few = shades()
    images = np.random.default_rng(0).integers(256, size=(200, 4, 4)).astype(np.uint8)
    split = Split(ArrayImages(images), np.repeat([0, 1, 2], (120, 60, 20)))
    for splits in (dict.fromkeys(few.splits, split), few.splits):
        plan = automatic(replace(few, splits=splits))
        assert {(each.head, each.heads) for each in plan.candidates} == {("blend", 5)}
        assert {each.class_weights for each in plan.candidates} == {"natural"}
        assert any("two heads" in reason for reason in plan.reasons)


def test_what_the_user_chose_is_in_every_candidate() -> None:
    own = {"loss": "focal", "epochs": 7, "learning_rate": 0.02, "select": "last"}
    own |= {"class_weights": "balanced"}
    config = TrainConfig.model_validate(own)
    plan = automatic(labeled(300, 10), config, given=own)
    assert [each.head for each in plan.candidates] == ["pooled"]
    for each in plan.candidates:
        assert each.model_dump() | own == each.model_dump()
    head = automatic(labeled(300, 10), TrainConfig(head="paper"), given={"head"})
    assert {each.head for each in head.candidates} == {"paper"}


def test_few_images_each_validate_once() -> None:
    few = shades()
    for plan in (automatic(few), automatic(few, TrainConfig(heads=3), given={"heads"})):
        assert {each.validation for each in plan.candidates} == {"folds"}
        assert any("165 training and validation images" in reason for reason in plan.reasons)
    assert {each.heads for each in automatic(few).candidates} == {5}
    many = shades(counts=(900, 120, 30), side=2)
    alone = automatic(few, TrainConfig(heads=1), given={"heads"})
    for plan in (automatic(many), alone, automatic(labeled(100, 100))):  # 200 equal images
        assert {each.validation for each in plan.candidates} == {"split"}


def test_an_option_of_a_loss_chooses_the_loss() -> None:
    assert chooses_loss({"epochs"})
    for name in ("loss", "beta", "loss_options"):
        assert not chooses_loss({name})
    plan = automatic(labeled(100, 100), TrainConfig(beta=3.0), given={"beta"})
    assert {(each.loss, each.beta) for each in plan.candidates} == {("dca", 3.0)}


@pytest.mark.parametrize("choices", [{"frozen": False}, {"backbone": SMALL}])
def test_a_network_that_is_trained_itself_or_drawn_at_random_is_not_searched(
    choices: dict[str, Any],
) -> None:
    (only,) = automatic(
        labeled(100, 10), TrainConfig.model_validate(choices), given=choices
    ).candidates
    assert (only.head, only.loss, only.class_weights) == ("paper", "dca", "natural")
    assert only.epochs == 200


@pytest.mark.parametrize(("images", "validation"), [(400, "folds"), (1300, "split")])
def test_few_images_with_findings_each_validate_once(
    images: int, validation: str, tmp_path: Path
) -> None:
    """1,040 of 1,300 are of train and val."""
    write_npz(tmp_path / "set.npz", images)
    plan = automatic(load_dataset(tmp_path / "set.npz"))
    assert {each.validation for each in plan.candidates} == {validation}
    is_said = any(f"{images * 4 // 5} training and validation" in each for each in plan.reasons)
    assert is_said == (validation == "folds")


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
