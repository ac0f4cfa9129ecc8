"""The person of benchmarks.defaults is careful, and its table says what it measured."""

import numpy as np
import pytest

from benchmarks.defaults.__main__ import DefaultsRow, half_interval, line
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


def test_a_row_has_the_mean_difference_and_its_interval() -> None:
    rows = [
        DefaultsRow(
            "rare",
            seed,
            348,
            3,
            0.66,
            0.75,
            0.75 + lead,
            0.05,
            0.04,
            0.5,
            40.0 + seed,
            60.0,
            "ce, pooled",
            "LR",
        )
        for seed, lead in enumerate((-0.01, 0.0, 0.04))
    ]
    assert half_interval([-0.01, 0.0, 0.04]) == pytest.approx(
        0.0657, abs=1e-4
    )  # 4.3027 * 0.02646 / sqrt(3)
    assert line(rows) == (
        "| rare | 348 | 3 | 0.660 | 0.750 | 0.760 | +0.010 ± 0.066 | 0.050 / 0.040 | 0.5 | 40 "
        "| 60 |"
    )
