"""Damaged files, leakage, repeated files, grouped draws, and the cache of file checks."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.sampling import grouped_parts, joined, stratified_parts
from tests.builders import trees
from training.datasets import ArrayImages, Split, fingerprint, load_dataset
from training.datasets.dataset import Dataset
from training.datasets.errors import BadDataset, LeakingSplits
from training.datasets.medmnist_sets import SETS
from training.datasets.records import LoadedFrom
from training.datasets.report import duplicates, overlaps
from training.datasets.sources import _archive


class TestLeakage:
    def test_overlaps_of_published_splits_are_noted_and_not_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        some = trees.pictures()
        arrays = {
            f"{name}_images": np.stack([next(some) for _ in range(6)])
            for name in ("train", "val", "test")
        }
        arrays |= {f"{name}_labels": np.arange(6) % 2 for name in ("train", "val", "test")}
        arrays["val_images"][3] = arrays["train_images"][1]
        np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
        with pytest.raises(LeakingSplits, match=r"train\[1\] = val\[3\]"):
            load_dataset(tmp_path / "pneumoniamnist.npz")
        published = SETS["pneumoniamnist"]
        monkeypatch.setitem(
            SETS, "pneumoniamnist", type(published)(published.classes, (6, 6, 6), published.md5)
        )
        assert "published splits share" in load_dataset(tmp_path / "pneumoniamnist.npz").notes[-1]

    def test_by_hand(self) -> None:
        pixels = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
        parts = {"train": [0, 1, 2, 2], "val": [2, 3], "test": [4, 5]}
        groups = {"train": [0, 0, 1, 3], "val": [2, 4], "test": [0, 5]}
        splits: dict[Any, Split] = {
            name: Split(
                ArrayImages(pixels[at]), np.zeros(len(at), np.int64), np.array(groups[name])
            )
            for name, at in parts.items()
        }
        found = [(each.kind, each.splits, each.count, each.images) for each in overlaps(splits)]
        assert found == [
            ("content", ("train", "val"), 1, (2, 1)),
            ("group", ("train", "test"), 1, (2, 1)),
        ]
        assert duplicates(splits) == {"train": 1, "val": 0, "test": 0}


class TestGroups:
    def test_a_pattern_needs_names(self, tmp_path: Path) -> None:
        with pytest.raises(BadDataset, match="no file names"):
            _archive(tmp_path, LoadedFrom("x", group_pattern="x"))

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


def test_groups_and_names_match_the_number_of_images() -> None:
    images, labels = ArrayImages(np.zeros((2, 3, 3), np.uint8)), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="2 images but 1 groups"):
        Split(images, labels, groups=np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="2 images but 3 names"):
        Split(images, labels, names=("a", "b", "c"))


def test_the_real_sets(data_folder: Path) -> None:
    """Published splits share a few images; see docs/training.md."""
    dataset: Dataset = load_dataset(data_folder / "pneumoniamnist.npz")
    assert [(each.splits, each.count, each.images) for each in overlaps(dataset.splits)] == [
        (("train", "val"), 8, (10, 8))
    ]
    assert duplicates(dataset.splits) == {"train": 18, "val": 0, "test": 3}
    assert dataset.fingerprint == fingerprint(dataset.classes, dataset.splits)
