"""The person of benchmarks.defaults is careful, and its figures are scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from benchmarks.defaults.by_hand import (
    achieved,
    behind_by_chance,
    best,
    candidates,
    regressions,
)
from benchmarks.defaults.folders import tiles


def test_the_person_finds_a_head_for_features_that_a_line_separates() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = 2.0 * np.eye(5)[labels] + generator.normal(scale=0.3, size=(60, 5))
    train, test = (features[::2].astype(np.float32), features[1::2].astype(np.float32))
    found = regressions((train, labels[::2]), (test, labels[1::2]), classes=3)
    assert best(found, labels[1::2])[:2] == (1.0, 1.0)
    assert len(found) == len(list(candidates())) == 4


def test_a_class_that_only_test_has_is_no_error() -> None:
    """As with a class of three images, of which the draw leaves train none."""
    features = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    known, all_three = np.arange(20) % 2, np.arange(20) % 3
    found = regressions((features, known), (features, all_three), classes=3)
    assert all(np.allclose(each.sum(axis=1), 1) for each in found)


def test_measures_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    p, labels = generator.dirichlet(np.ones(3), size=50), np.arange(50) % 2
    found, predicted = achieved(p, labels), p.argmax(axis=1)
    assert found.accuracy == accuracy_score(labels, predicted)
    recall = [(predicted[labels == label] == label).mean() for label in (0, 1)]
    assert found.balanced_accuracy == pytest.approx(np.mean(recall))
    assert found.nll == pytest.approx(log_loss(labels, p, labels=[0, 1, 2]))
    whole = np.arange(50) % 3  # every class
    assert achieved(p, whole).balanced_accuracy == pytest.approx(
        balanced_accuracy_score(whole, predicted)
    )


def test_equal_methods_are_behind_by_chance_unless_they_err_together() -> None:
    generator = np.random.default_rng(0)
    ours, other = generator.dirichlet(np.ones(2), size=(2, 200))
    labels = (generator.random(200) < (ours + other)[:, 1] / 2).astype(np.int64)
    assert behind_by_chance(ours, [ours], labels).tolist() == [0, 0, 0]
    found = behind_by_chance(ours, [other], labels)
    assert ((found > 0.1) & (found < 0.35)).all()


def test_tiles_leave_no_rest() -> None:
    found = tiles(np.arange(6 * 9, dtype=np.uint8).reshape(6, 9), 4)
    assert [tile.shape for tile in found] == [(4, 4), (4, 4)]
    assert found[1][0, 0] == 4
