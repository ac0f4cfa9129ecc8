"""Perturbations of validation images: what each does, and the temperature fitted on them."""

from pathlib import Path

import numpy as np
import pytest

from training.evaluation.evaluation import Predictions, evaluate, read_evaluation, write_evaluation
from training.features.perturbation import PERTURBATIONS

BY_NAME = {change.name: change.apply for change in PERTURBATIONS}


@pytest.fixture
def images() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(60, 190, (3, 1, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_perturbation_keeps_the_shape_changes_the_image_and_is_always_the_same(
    name: str, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    numbers = np.arange(5, 8)
    changed = BY_NAME[name](images, numbers)
    assert (changed.shape, changed.dtype) == (images.shape, np.uint8)
    assert (changed != images).mean() > 0.5
    np.testing.assert_array_equal(changed, BY_NAME[name](images.copy(), numbers))
    # whatever the batch
    np.testing.assert_array_equal(changed[1:], BY_NAME[name](images[1:], numbers[1:]))


def test_each_does_what_its_name_says(
    images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> None:
    spread = {
        name: float(apply(images, np.arange(3)).astype(float).std())
        for name, apply in BY_NAME.items()
    }
    level = {name: float(apply(images, np.arange(3)).mean()) for name, apply in BY_NAME.items()}
    plain = float(images.astype(float).std())
    assert spread["flatter"] == pytest.approx(0.6 * plain, rel=0.02)
    assert spread["harder"] > 1.3 * plain
    assert spread["blurred"] < plain < spread["noisy"]
    assert level["brighter"] == pytest.approx(float(images.mean()) + 32, abs=0.5)
    assert level["darker"] == pytest.approx(float(images.mean()) - 32, abs=0.5)


@pytest.mark.slow
def test_a_temperature_fitted_on_worse_answers_is_higher(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)

    def answers(sharpness: float) -> Predictions:
        signal = np.where(labels == 1, 1.0, -1.0) * sharpness + random.normal(0, 1, 400)
        return Predictions(np.stack([-4 * signal, 4 * signal], axis=1).astype(np.float32), labels)

    known = {"val": answers(2.0), "test": answers(0.8), "perturbed": answers(0.8)}
    evaluation = evaluate(known)
    assert (
        evaluation.measures["test"]["perturbed"].ece
        < 0.5 * evaluation.measures["test"]["temperature"].ece
    )
    assert evaluation.as_dict()["calibrators"]["perturbed"]["fitted_on"] == "perturbed"
    write_evaluation(tmp_path, evaluation)
    assert read_evaluation(tmp_path).as_dict() == evaluation.as_dict()
    assert "perturbed" not in evaluate({"val": known["val"], "test": known["test"]}).calibrators
