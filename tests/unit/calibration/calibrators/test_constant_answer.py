"""Better than a constant answer: in NLL, outside noise."""

import numpy as np
import pytest

from calibration.calibrators.constant_answer import beats_frequencies, beats_prevalences

Y = np.repeat([0, 1], (90, 10))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.5])
def test_the_same_answer_for_each_image_never_passes(share: float) -> None:
    assert not beats_frequencies(np.tile([1 - share, share], (100, 1)), Y)
    labels = np.stack([Y, np.where(np.arange(100) < 50, np.nan, Y)], axis=1)
    assert not beats_prevalences(np.full((100, 2), share), labels)


def test_a_model_that_ranks_a_rare_class_passes_though_it_never_predicts_it() -> None:
    p = np.where(Y == 1, 0.4, 0.05)
    assert beats_frequencies(np.stack([1 - p, p], axis=1), Y)
    assert beats_prevalences(p[:, None], Y[:, None].astype(float))


def test_noise_does_not_pass_and_a_patient_is_one_observation() -> None:
    p = np.where(np.arange(100) % 2, 0.05, 0.15)  # knows nothing
    assert not beats_frequencies(np.stack([1 - p, p], axis=1), Y)
    y, few = np.repeat([0, 1], (50, 50)), np.where(np.arange(100) % 10 < 7, 0.6, 0.4)
    said = np.stack([1 - np.where(y == 1, few, 1 - few), np.where(y == 1, few, 1 - few)], axis=1)
    assert beats_frequencies(said, y)
    assert not beats_frequencies(said, y, np.arange(100) % 10 // 4)  # three patients


def test_no_labels_show_nothing() -> None:
    assert not beats_frequencies(np.empty((0, 2)), np.empty(0, np.int64))
    assert not beats_prevalences(np.full((5, 1), 0.5), np.full((5, 1), np.nan))
