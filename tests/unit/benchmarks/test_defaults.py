"""The person of benchmarks.defaults is careful."""

import numpy as np

from benchmarks.defaults.by_hand import candidates, fit_by_hand
from benchmarks.defaults.folders import tiles


def test_the_person_finds_a_head_for_features_that_a_line_separates() -> None:
    generator = np.random.default_rng(0)
    examples = {}
    for name, count in (("train", 60), ("val", 30), ("test", 30)):
        labels = np.arange(count) % 3
        features = 2.0 * np.eye(5)[labels] + generator.normal(scale=0.3, size=(count, 5))
        examples[name] = (features.astype(np.float32), labels)
    found = fit_by_hand(examples, seed=0)
    assert (found.val_accuracy, found.test_accuracy) == (1.0, 1.0)
    assert len(list(candidates(0))) == 16


def test_a_class_that_only_validation_has_is_no_error() -> None:
    """As with a class of three images, of which the draw leaves train two and validation none, or
    the reverse.
    """
    features = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    known, all_three = np.arange(20) % 2, np.arange(20) % 3
    examples = {"train": (features, known), "val": (features, all_three), "test": (features, known)}
    assert 0 <= fit_by_hand(examples, seed=0).test_accuracy <= 1


def test_tiles_leave_no_rest() -> None:
    found = tiles(np.arange(6 * 9, dtype=np.uint8).reshape(6, 9), 4)
    assert [tile.shape for tile in found] == [(4, 4), (4, 4)]
    assert found[1][0, 0] == 4
