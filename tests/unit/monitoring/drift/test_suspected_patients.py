"""Repeated patients are suspected where there are some, and hardly where there are none."""

import numpy as np
import numpy.typing as npt
import pytest

from monitoring.drift.suspected_patients import suspect

N = 4000


def alike(
    seed: int, images: int, correlation: float = 1.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """A calibrated model; with this probability an image is as right as the patient's first."""
    rng = np.random.default_rng(seed)
    p = np.repeat(0.5 + 0.5 * rng.beta(2, 0.7, N // images), images)
    own, first = rng.random(len(p)), np.repeat(rng.random(N // images), images)
    return p, np.where(rng.random(len(p)) < correlation, first, own) < p


@pytest.mark.parametrize("images", [2, 4])
def test_neighbors_that_err_together_are_noticed(images: int) -> None:
    for seed in range(10):
        found = suspect([None] * N, *alike(seed, images))
        assert found.by == "neighbors"
        assert found.design_effect == pytest.approx(images, rel=0.25)
        assert images - 1 <= found.images <= images + 2


def test_ids_that_begin_alike_are_patients_in_any_order() -> None:
    p, right = alike(1, 2)
    order = np.random.default_rng(2).permutation(N)
    ids = [f"p{each // 2}_{'left' if each % 2 else 'right'}.png" for each in order]
    found = suspect(ids, p[order], right[order])
    assert (found.by, found.share, found.images) == ("request_ids", 1.0, 2.0)
    assert found.correlation == pytest.approx(1, abs=0.1)
    assert found.design_effect == pytest.approx(2, abs=0.1)


def test_independent_answers_are_hardly_suspected() -> None:
    ids = [f"scan_{number:05}.png" for number in range(N)]
    assert sum(suspect(ids, *alike(seed, 1)) is not None for seed in range(60)) <= 1


def test_lists_of_images_are_no_patients() -> None:
    """Ids of one request begin alike, and their outcomes have nothing in common."""
    ids = [f"list{number // 30}-{number % 30}" for number in range(N)]
    assert [suspect(ids, *alike(seed, 1)) for seed in range(20)] == [None] * 20


def test_a_change_of_the_model_is_no_patient() -> None:
    for seed in range(10):
        p, right = alike(seed, 1)
        right[N // 2 :] &= np.random.default_rng(seed).random(N // 2) < 0.7
        assert suspect([None] * N, p, right) is None
