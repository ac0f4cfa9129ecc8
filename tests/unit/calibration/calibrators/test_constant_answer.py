"""Better than a constant answer: in NLL or mean recall, outside noise."""

import numpy as np
import pytest

from calibration.calibrators.constant_answer import beats_constant_answer, beats_prevalences

Y = np.repeat([0, 1], (90, 10))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.5])
def test_the_same_answer_for_each_image_never_passes(share: float) -> None:
    assert not beats_constant_answer(np.tile([1 - share, share], (100, 1)), Y)
    labels = np.stack([Y, np.where(np.arange(100) < 50, np.nan, Y)], axis=1)
    assert not beats_prevalences(np.full((100, 2), share), labels)


def test_a_model_that_ranks_a_rare_class_passes_though_it_never_predicts_it() -> None:
    p = np.where(Y == 1, 0.4, 0.05)
    assert beats_constant_answer(np.stack([1 - p, p], axis=1), Y)
    assert beats_prevalences(p[:, None], Y[:, None].astype(float))


def test_noise_does_not_pass_and_a_patient_is_one_observation() -> None:
    p = np.where(np.arange(100) % 2, 0.05, 0.15)  # knows nothing
    assert not beats_constant_answer(np.stack([1 - p, p], axis=1), Y)
    y, few = np.repeat([0, 1], (50, 50)), np.where(np.arange(100) % 10 < 7, 0.6, 0.4)
    said = np.stack([1 - np.where(y == 1, few, 1 - few), np.where(y == 1, few, 1 - few)], axis=1)
    assert beats_constant_answer(said, y)
    assert not beats_constant_answer(said, y, np.arange(100) % 10 // 4)  # three patients


def test_finding_a_rare_class_at_the_price_of_accuracy_and_nll_passes() -> None:
    """Half of the rare, a tenth of the others: as balanced class weights answer, and too sure."""
    said = np.concatenate([np.repeat([0, 1], (81, 9)), np.repeat([0, 1], (5, 5))])
    assert (said == Y).mean() < 0.9
    p = np.where(said[:, None] == [0, 1], 0.999, 0.001)
    assert beats_constant_answer(p, Y)
    patients = np.where(Y == 1, said, 2 + np.arange(100))  # two with the rare class
    assert not beats_constant_answer(p, Y, patients)
    assert not beats_constant_answer(p[:94], Y[:94])  # four images of a class tell nothing


def test_no_labels_show_nothing() -> None:
    assert not beats_constant_answer(np.empty((0, 2)), np.empty(0, np.int64))
    assert not beats_prevalences(np.full((5, 1), 0.5), np.full((5, 1), np.nan))
