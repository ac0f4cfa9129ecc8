"""Parts and folds keep shares and groups; what is fitted has not seen what it answers."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.calibrators.remedies import TEMPERATURE, VECTOR, Remedy
from calibration.calibrators.temperature import softmax
from calibration.cross_fitting import cross_fit, fold_numbers
from calibration.sampling import grouped_parts, joined, stratified_parts


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=200).map(np.array),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 9),
)
def test_stratified_parts_partition_and_keep_shares(labels: Any, share: float, seed: int) -> None:
    first, second = stratified_parts(labels, (share, 1 - share), seed=seed)
    assert sorted([*first, *second]) == list(range(len(labels)))
    for label in np.unique(labels):
        assert abs((labels[first] == label).sum() - share * (labels == label).sum()) <= 0.5 + 1e-9


class TestGroups:
    @settings(max_examples=60)
    @given(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=200),
        st.sampled_from([(0.8, 0.2), (0.5, 0.5), (0.6, 0.2, 0.2)]),
        st.integers(0, 5),
    )
    def test_groups_stay_together(
        self, pairs: list[tuple[int, int]], shares: tuple[float, ...], seed: int
    ) -> None:
        labels, groups = np.array(pairs).T
        parts = grouped_parts(labels, groups, shares, seed=seed)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
        assert sum(len(np.unique(groups[part])) for part in parts) == len(np.unique(groups))
        again = grouped_parts(labels, groups, shares, seed=seed)
        assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))

    def test_shares_are_met_for_patients_of_every_size(self) -> None:
        """Also in the mean number of images per patient: no part gets all the large patients."""
        generator = np.random.default_rng(0)
        sizes = generator.geometric(0.2, 2000)
        groups = np.repeat(np.arange(2000), sizes)
        labels = np.repeat((generator.random(2000) < 0.3).astype(np.int64), sizes)
        train, val = grouped_parts(labels, groups, (0.8, 0.2), seed=0)
        assert len(val) / len(labels) == pytest.approx(0.2, abs=0.005)
        assert labels[val].mean() == pytest.approx(labels.mean(), abs=0.01)
        per_patient = [len(part) / len(np.unique(groups[part])) for part in (train, val)]
        assert per_patient[1] == pytest.approx(per_patient[0], rel=0.1)

    def test_without_groups_the_draw_is_stratified(self) -> None:
        labels = np.arange(100) % 3
        plain = stratified_parts(labels, (0.8, 0.2), seed=4)
        grouped = grouped_parts(labels, np.arange(100), (0.8, 0.2), seed=4)
        assert all(np.array_equal(one, other) for one, other in zip(plain, grouped, strict=True))

    @given(
        st.lists(
            st.tuples(st.none() | st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30
        )
    )
    def test_joined_is_the_transitive_closure(self, keys: list[tuple[Hashable, int]]) -> None:
        found = joined([key for key, _ in keys], [key for _, key in keys])
        count = len(keys)
        linked = np.array(
            [
                [
                    a is b or any(x == y and x is not None for x, y in zip(a, b, strict=True))
                    for b in keys
                ]
                for a in keys
            ]
        )
        for _ in range(count):
            linked = (linked.astype(int) @ linked.astype(int)) > 0
        assert np.array_equal(linked, found[:, None] == found[None, :])


Answers = tuple[np.ndarray, np.ndarray]


def draw(seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (40, 3))
    return 1.7 * logits, (softmax(logits).cumsum(axis=1) > rng.random((40, 1))).argmax(axis=1)


def cross_fitted(remedy: Remedy, answers: Answers, folds: np.ndarray) -> np.ndarray:
    z, y = answers
    return cross_fit(lambda rows: remedy.fit(z[rows], y[rows]), z, folds)


def test_a_row_is_calibrated_without_its_label() -> None:
    logits, labels = draw(1)
    folds = fold_numbers(labels, None, seed=0, count=10)
    other = np.where(np.arange(40) == 7, (labels + 1) % 3, labels)
    before, after = (cross_fitted(VECTOR, (logits, each), folds) for each in (labels, other))
    np.testing.assert_array_equal(before[7], after[7])
    assert (before != after).any()


def test_patients_are_kept_together() -> None:
    logits, labels = draw(2)
    groups = np.repeat(np.arange(10), 4)
    folds = fold_numbers(labels, groups, seed=0, count=10)
    other = np.where(groups == 3, (labels + 1) % 3, labels)
    before, after = (cross_fitted(TEMPERATURE, (logits, each), folds) for each in (labels, other))
    assert (before == after)[groups == 3].all()
    assert not (before == after).all()


def test_folds_are_as_large_and_as_mixed_as_they_can_be() -> None:
    labels = np.repeat([0, 1], [83, 20])
    folds = fold_numbers(labels, None, seed=3)
    assert np.ptp(np.bincount(folds)) <= 1
    assert np.bincount(folds[labels == 1]).tolist() == [4] * 5


def test_each_fold_needs_an_answer_and_the_others_one() -> None:
    with pytest.raises(ValueError, match="at least 2 answers or groups; got 1"):
        fold_numbers(np.zeros(2), [5, 5], seed=0, count=1)
