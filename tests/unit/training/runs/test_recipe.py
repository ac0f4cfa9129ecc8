"""The recipe `auto`: steps, candidates by size and imbalance, the user's own choices."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders.datasets import labeled, shades
from tests.builders.finding_sets import write_npz
from training.datasets import ArrayImages, Split, load_dataset
from training.networks.backbones import SMALL
from training.runs.config import TrainConfig
from training.runs.recipe import MIN_STEPS, automatic, chooses_loss


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
