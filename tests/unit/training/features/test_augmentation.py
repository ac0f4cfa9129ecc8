"""Augmentation: fresh in each epoch, repeatable, no mirror image unless asked for."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.errors import UnknownName
from training.features.augmentation import CHANGES, Augmentation
from training.runs.config import TrainConfig

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
