"""Damaged files, leakage, repeated files, grouped draws, and the cache of file checks."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import trees
from training.datasets import FileImages, Split, file_facts, load_dataset, write_report
from training.datasets.errors import BadDataset, CorruptDataset, LeakingSplits
from training.datasets.report import duplicates, overlaps


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
        assert [(each.path.name, "not an image" in each.reason) for each in dataset.excluded] == [
            ("000.png", True)
        ]
        assert sum(sum(counts) for counts in dataset.counts.values()) == 119
        write_report(dataset, tmp_path)
        assert json.loads((tmp_path / "data.json").read_text())["excluded"][0]["path"].endswith(
            "a/000.png"
        )
        assert (tmp_path / "excluded.csv").read_text().splitlines()[0] == "path,reason"

    def test_beyond_it_nothing_is_trained(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 10, "b": 10})
        (root / "a/000.png").write_bytes((root / "a/000.png").read_bytes()[:60])
        with pytest.raises(
            CorruptDataset, match=r"1 of 20 .* limit of 1\.00% .*000\.png.*max_corrupt"
        ):
            load_dataset(root)
        assert len(load_dataset(root, max_corrupt=0.05).excluded) == 1
        with pytest.raises(CorruptDataset):
            load_dataset(root, max_corrupt=0.049)


class TestKeptFacts:
    def test_the_second_check_opens_only_changed_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = folder(tmp_path / "data", {"a": 10, "b": 10})
        seen: list[tuple[str, int, int]] = []
        first = load_dataset(
            root, cache=tmp_path / "cache", progress=lambda *each: seen.append(each)
        )
        assert ("check images", 20, 20) in seen
        opened: list[str] = []
        check_file = file_facts.check_file

        def watch(path: Path, *, frames: Any) -> Any:
            opened.append(path.name)
            return check_file(path, frames=frames)

        monkeypatch.setattr(file_facts, "check_file", watch)
        assert load_dataset(root, cache=tmp_path / "cache").fingerprint == first.fingerprint
        assert opened == []
        status = (root / "a/003.png").stat()
        os.utime(root / "a/003.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        load_dataset(root, cache=tmp_path / "cache")
        assert opened == ["003.png"]
        load_dataset(root)
        assert len(opened) == 21

    def test_an_unreadable_cache_is_replaced(self, tmp_path: Path) -> None:
        root = folder(tmp_path / "data", {"a": 10, "b": 10})
        load_dataset(root, cache=tmp_path / "cache")
        kept = next((tmp_path / "cache").rglob("*.json"))
        for damaged in (
            b"garbage" * 1000,
            b"[1]",
            b'{"a": [1]}',
            b'{"a": [1, 2, [3, 4, 5, 6, 7, 8, 9]]}',
        ):
            kept.write_bytes(damaged)
            assert load_dataset(root, cache=tmp_path / "cache").counts["train"] == [6, 6]
            assert len(json.loads(kept.read_text())) == 20


class TestLeakage:
    def test_the_same_file_in_two_splits_is_refused_with_counts_and_examples(
        self, tmp_path: Path
    ) -> None:
        counts = {f"{split}/{name}": 6 for split in ("train", "test", "val") for name in "ab"}
        root = folder(tmp_path, counts)
        for number in range(2):
            content = (root / f"train/b/{number:03}.png").read_bytes()
            (root / f"test/b/copy{number}.png").write_bytes(content)
        with pytest.raises(LeakingSplits, match="2 image contents in both") as caught:
            load_dataset(root)
        assert "train/b/000.png = test/b/copy0.png" in str(caught.value)
        notes = load_dataset(root, allow_leakage=True).notes
        assert notes[-1].startswith("allowed leakage: 2 image contents")

    def test_the_same_patient_in_two_splits_is_refused(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"train/a": 6, "train/b": 6, "test/a": 3, "test/b": 3})
        with pytest.raises(LeakingSplits, match=r"2 patients or groups in both train and test"):
            load_dataset(root, group_pattern=r"(\d+)\.png")
        assert load_dataset(root, group_pattern=".*")

    def test_drawn_splits_keep_equal_files_together_and_count_them(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 40, "b": 40})
        for number in range(10):
            (root / f"a/copy{number}.png").write_bytes((root / f"a/{number:03}.png").read_bytes())
        for seed in range(5):
            dataset = load_dataset(root, seed=seed)
            assert overlaps(dataset.splits) == []
            assert sum(duplicates(dataset.splits).values()) == 10


class TestGroups:
    def test_an_image_of_no_known_group_is_alone(self, tmp_path: Path) -> None:
        some = trees.pictures()
        rows = [(f"{at}.png", at % 2, "p" if at < 4 else "") for at in range(24)]
        for path, *_ in rows:
            trees.write(tmp_path / path, next(some))
        dataset = load_dataset(trees.table(tmp_path / "t.csv", ("path", "label", "group"), rows))
        splits = dataset.splits.values()
        numbers = [number for split in splits for number in np.unique(split.groups).tolist()]
        assert len(numbers) == len(set(numbers)) == 21

    def test_a_pattern_that_misses_a_file_or_is_none(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 5, "b": 5})
        with pytest.raises(BadDataset, match=r"finds nothing in 'a/000\.png'"):
            load_dataset(root, group_pattern="p[0-9]+")
        with pytest.raises(BadDataset, match="no regular expression"):
            load_dataset(root, group_pattern="(")

    def test_too_few_groups_are_refused(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 8, "b": 8})
        with pytest.raises(BadDataset, match=r"has no image of .*add images or groups"):
            load_dataset(root, group_pattern=".png")

    def test_a_class_that_a_split_lacks_is_refused(self, tmp_path: Path) -> None:
        root = folder(tmp_path, {"a": 20, "b": 20, "rare": 2})
        with pytest.raises(BadDataset, match=r"test has no image of rare; .* merge or remove"):
            load_dataset(root)
        folder(tmp_path / "c", {"rare": 3})
        (root / "c/rare").rename(root / "scarce")
        (root / "c").rmdir()
        for path in (root / "rare").iterdir():
            path.unlink()
        (root / "rare").rmdir()
        (note,) = load_dataset(root).notes
        assert "'scarce' (2 in train, 0 in val, 1 in test)" in note
