"""Damaged files, leakage, repeated files, grouped draws, and what is kept of the look at each file."""

import json
import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.training import trees
from training.datasets import ArrayImages, FileImages, Split, fingerprint, inspection, load_dataset, write_report
from training.datasets.dataset import Dataset
from training.datasets.errors import BadDataset, CorruptDataset, LeakingSplits
from training.datasets.leakage import duplicates, overlaps
from training.datasets.medmnist.published import SETS
from training.datasets.records import LoadOptions
from training.datasets.sampling import grouped_parts, joined, stratified_parts
from training.datasets.sources import _archive


def folder(root: Path, counts: dict[str, int]) -> Path:
    """A plain folder: images by sub-folder, no two alike."""
    some = trees.pictures()
    for name, count in counts.items():
        for number in range(count):
            trees.write(root / name / f"{number:03}.png", next(some))
    return root


def files(split: Split) -> set[Path]:
    assert isinstance(split.images, FileImages)
    return set(split.images.paths)


class TestCorruptFiles:
    def test_within_the_limit_they_are_left_out_listed_and_written(self, tmp_path: Path) -> None:
        root = folder(tmp_path / "data", {"a": 60, "b": 60})
        (root / "a/000.png").write_bytes(b"no image")
        dataset = load_dataset(root)
        assert [(each.path.name, "not an image" in each.reason) for each in dataset.excluded] == [("000.png", True)]
        assert sum(sum(counts) for counts in dataset.counts.values()) == 119
        write_report(dataset, tmp_path)
        assert json.loads((tmp_path / "data.json").read_text())["excluded"][0]["path"].endswith("a/000.png")
        assert (tmp_path / "excluded.csv").read_text().splitlines()[0] == "path,reason"

    def test_beyond_it_nothing_is_trained(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 10, "b": 10})
        (root / "a/000.png").write_bytes((root / "a/000.png").read_bytes()[:60])
        with pytest.raises(CorruptDataset, match=r"1 of 20 .* limit of 1\.00% .*000\.png.*--max-corrupt") as caught:
            load_dataset(root)
        assert len(caught.value.corrupt) == 1
        assert len(load_dataset(root, max_corrupt=0.05).excluded) == 1
        with pytest.raises(CorruptDataset):
            load_dataset(root, max_corrupt=0.049)

    def test_all_of_them_are_told_not_the_first(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 10, "b": 10})
        for number in range(5):
            (root / f"b/{number:03}.png").write_bytes(b"")
        with pytest.raises(CorruptDataset, match="5 of 20"):
            load_dataset(root)


class TestKeptFacts:
    def test_the_second_look_opens_nothing_but_what_has_changed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = folder(tmp_path / "data", {"a": 10, "b": 10})
        seen: list[tuple[str, int, int]] = []
        first = load_dataset(root, cache=tmp_path / "cache", progress=lambda *each: seen.append(each))
        assert ("check images", 20, 20) in seen
        opened: list[str] = []
        look = inspection.look

        def watch(path: Path, *, frames: Any) -> Any:
            opened.append(path.name)
            return look(path, frames=frames)

        monkeypatch.setattr(inspection, "look", watch)
        assert load_dataset(root, cache=tmp_path / "cache").fingerprint == first.fingerprint
        assert opened == []
        status = (root / "a/003.png").stat()
        os.utime(root / "a/003.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        load_dataset(root, cache=tmp_path / "cache")
        assert opened == ["003.png"]
        load_dataset(root)
        assert len(opened) == 21

    def test_a_file_that_is_no_cache_is_begun_anew(self, tmp_path: Path) -> None:
        root = folder(tmp_path / "data", {"a": 10, "b": 10})
        load_dataset(root, cache=tmp_path / "cache")
        kept = next((tmp_path / "cache").rglob("*.db"))
        kept.write_bytes(b"garbage" * 1000)
        assert load_dataset(root, cache=tmp_path / "cache").counts["train"] == [6, 6]
        assert kept.read_bytes().startswith(b"SQLite")


class TestLeakage:
    def test_the_same_file_in_two_splits_is_refused_with_counts_and_examples(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"train/a": 6, "train/b": 6, "test/a": 4, "test/b": 4, "val/a": 4, "val/b": 4})
        for number in range(2):
            (root / f"test/b/copy{number}.png").write_bytes((root / f"train/b/{number:03}.png").read_bytes())
        with pytest.raises(LeakingSplits, match=r"2 image contents in both train and test") as caught:
            load_dataset(root)
        assert "train/b/000.png = test/b/copy0.png" in str(caught.value)
        assert [(each.count, each.images) for each in caught.value.overlaps] == [(2, (2, 2))]
        notes = load_dataset(root, allow_leakage=True).notes
        assert notes[0].startswith("allowed leakage: 2 image contents")

    def test_the_same_patient_in_two_splits_is_refused(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"train/a": 6, "train/b": 6, "test/a": 3, "test/b": 3})
        with pytest.raises(LeakingSplits, match=r"2 patients or groups in both train and test"):
            load_dataset(root, group_pattern=r"^(\d+)")
        assert load_dataset(root, group_pattern=r"^(?:[^/]+/){2}.*")

    def test_published_splits_are_told_not_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        some = trees.pictures()
        arrays = {f"{name}_images": np.stack([next(some) for _ in range(6)]) for name in ("train", "val", "test")}
        arrays |= {f"{name}_labels": np.arange(6) % 2 for name in ("train", "val", "test")}
        arrays["val_images"][3] = arrays["train_images"][1]
        np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
        with pytest.raises(LeakingSplits, match=r"train\[1\] = val\[3\]"):
            load_dataset(tmp_path / "pneumoniamnist.npz")
        published = SETS["pneumoniamnist"]
        monkeypatch.setitem(SETS, "pneumoniamnist", type(published)(published.classes, (6, 6, 6), published.md5))
        assert "published splits share" in load_dataset(tmp_path / "pneumoniamnist.npz").notes[0]

    def test_drawn_splits_keep_equal_files_together_and_count_them(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 40, "b": 40})
        for number in range(10):
            (root / f"a/copy{number}.png").write_bytes((root / f"a/{number:03}.png").read_bytes())
        for seed in range(5):
            dataset = load_dataset(root, seed=seed)
            assert overlaps(dataset.splits) == ()
            assert sum(duplicates(dataset.splits).values()) == 10

    def test_by_hand(self) -> None:
        pixels = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
        parts = {"train": [0, 1, 2, 2], "val": [2, 3], "test": [4, 5]}
        groups = {"train": [0, 0, 1, 3], "val": [2, 4], "test": [0, 5]}
        splits: dict[Any, Split] = {
            name: Split(ArrayImages(pixels[at]), np.zeros(len(at), np.int64), np.array(groups[name]))
            for name, at in parts.items()
        }
        found = [(each.kind, each.splits, each.count, each.images) for each in overlaps(splits)]
        assert found == [("content", ("train", "val"), 1, (2, 1)), ("group", ("train", "test"), 1, (2, 1))]
        assert duplicates(splits) == {"train": 1, "val": 0, "test": 0}


class TestGroups:
    def test_an_image_of_no_known_group_is_alone(self, tmp_path: Path) -> None:
        some = trees.pictures()
        rows = [(f"{at}.png", at % 2, "p" if at < 4 else "") for at in range(24)]
        for path, *_ in rows:
            trees.write(tmp_path / path, next(some))
        dataset = load_dataset(trees.table(tmp_path / "t.csv", ("path", "label", "group"), rows))
        numbers = [number for split in dataset.splits.values() for number in np.unique(split.groups).tolist()]
        assert len(numbers) == len(set(numbers)) == 21

    def test_a_pattern_keeps_patients_together(self, tmp_path: Path) -> None:
        some = trees.pictures()
        for patient in range(15):
            for image in range(3):
                trees.write(tmp_path / ("a" if patient % 2 else "b") / f"p{patient}_{image}.png", next(some))
        splits = load_dataset(tmp_path, group_pattern=r"(p\d+)_").splits
        patients = [{path.name.split("_")[0] for path in files(split)} for split in splits.values()]
        assert sum(map(len, patients)) == 15

    def test_a_pattern_that_misses_a_file_or_is_none(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 5, "b": 5})
        with pytest.raises(BadDataset, match=r"matches nothing in '000\.png'"):
            load_dataset(root, group_pattern="p[0-9]+")
        with pytest.raises(BadDataset, match="not a regular expression"):
            load_dataset(root, group_pattern="(")

    def test_a_pattern_needs_names(self, tmp_path: Path) -> None:
        with pytest.raises(BadDataset, match="no file names"):
            _archive(tmp_path, LoadOptions(group_pattern="x"))

    def test_too_few_groups_are_told(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 8, "b": 8})
        with pytest.raises(BadDataset, match=r"has no image of .*give more images or groups"):
            load_dataset(root, group_pattern=".png")

    def test_a_class_that_a_split_lacks_is_told(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 20, "b": 20, "rare": 1})
        notes = load_dataset(root).notes
        assert len(notes) == 2
        assert all("has no image of rare" in note for note in notes)

    @settings(max_examples=60)
    @given(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=200),
        st.sampled_from([(0.8, 0.2), (0.5, 0.5), (0.6, 0.2, 0.2)]),
        st.integers(0, 5),
    )
    def test_groups_never_part(self, pairs: list[tuple[int, int]], shares: tuple[float, ...], seed: int) -> None:
        labels, groups = np.array(pairs).T
        parts = grouped_parts(labels, groups, shares, seed=seed)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
        assert sum(len(np.unique(groups[part])) for part in parts) == len(np.unique(groups))
        again = grouped_parts(labels, groups, shares, seed=seed)
        assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))

    def test_shares_are_met_for_patients_of_every_size(self) -> None:
        """Also in the mean number of images a patient: none of the parts is the one of large patients."""
        generator = np.random.default_rng(0)
        sizes = generator.geometric(0.2, 2000)
        groups = np.repeat(np.arange(2000), sizes)
        labels = np.repeat((generator.random(2000) < 0.3).astype(np.int64), sizes)
        train, val = grouped_parts(labels, groups, (0.8, 0.2), seed=0)
        assert len(val) / len(labels) == pytest.approx(0.2, abs=0.005)
        assert labels[val].mean() == pytest.approx(labels.mean(), abs=0.01)
        per_patient = [len(part) / len(np.unique(groups[part])) for part in (train, val)]
        assert per_patient[1] == pytest.approx(per_patient[0], rel=0.1)

    def test_where_nothing_is_grouped_the_draw_is_the_plain_one(self) -> None:
        labels = np.arange(100) % 3
        plain = stratified_parts(labels, (0.8, 0.2), seed=4)
        grouped = grouped_parts(labels, np.arange(100), (0.8, 0.2), seed=4)
        assert all(np.array_equal(one, other) for one, other in zip(plain, grouped, strict=True))

    @given(st.lists(st.tuples(st.none() | st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30))
    def test_joined_is_the_transitive_closure(self, keys: list[tuple[Hashable, int]]) -> None:
        found = joined([key for key, _ in keys], [key for _, key in keys])
        count = len(keys)
        linked = np.array(
            [[a is b or any(x == y and x is not None for x, y in zip(a, b, strict=True)) for b in keys] for a in keys]
        )
        for _ in range(count):
            linked = (linked.astype(int) @ linked.astype(int)) > 0
        assert np.array_equal(linked, found[:, None] == found[None, :])


def test_groups_and_names_are_as_many_as_the_images() -> None:
    images, labels = ArrayImages(np.zeros((2, 3, 3), np.uint8)), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="2 images but 1 groups"):
        Split(images, labels, groups=np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="2 images but 3 names"):
        Split(images, labels, names=("a", "b", "c"))


def test_the_real_sets(data_folder: Path) -> None:
    """What is published leaks a little; see docs/training.md."""
    dataset: Dataset = load_dataset(data_folder / "pneumoniamnist.npz")
    assert [(each.splits, each.count, each.images) for each in overlaps(dataset.splits)] == [
        (("train", "val"), 8, (10, 8))
    ]
    assert duplicates(dataset.splits) == {"train": 18, "val": 0, "test": 3}
    assert dataset.fingerprint == fingerprint(dataset.classes, dataset.splits)
