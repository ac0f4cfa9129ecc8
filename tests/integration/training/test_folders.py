"""Folders of images become splits; each file is checked once, and SQLite keeps the result."""

from pathlib import Path

import numpy as np

from tests.builders.datasets import arrays, write_images
from training.datasets import FileImages, Split, load_dataset


class TestFolder:
    def test_own_splits_are_kept(self, tmp_path: Path) -> None:
        for split, count in (("train", 4), ("val", 2), ("test", 3)):
            for name in ("cat", "dog"):
                write_images(tmp_path / split / name, count)
        dataset = load_dataset(tmp_path)
        assert dataset.classes == ("cat", "dog")
        assert dataset.counts == {"train": [4, 4], "val": [2, 2], "test": [3, 3]}
        assert (dataset.channels, dataset.size) == (1, 13)

    def test_without_val_a_fifth_of_train_becomes_it(self, tmp_path: Path) -> None:
        for split, count in (("train", 10), ("test", 3)):
            write_images(tmp_path / split / "cat", count)
            write_images(tmp_path / split / "dog", 2 * count, mode="RGB")
        dataset = load_dataset(tmp_path)
        assert dataset.counts == {"train": [8, 16], "val": [2, 4], "test": [3, 6]}
        assert dataset.channels == 3
        assert not set(paths(dataset.splits["train"])) & set(paths(dataset.splits["val"]))
        assert load_dataset(tmp_path).fingerprint == dataset.fingerprint
        assert load_dataset(tmp_path, seed=1).fingerprint != dataset.fingerprint

    def test_without_splits_all_three_are_drawn(self, tmp_path: Path) -> None:
        write_images(tmp_path / "cat", 25)
        write_images(tmp_path / "dog", 50)
        dataset = load_dataset(tmp_path)
        assert dataset.counts == {"train": [16, 32], "val": [4, 8], "test": [5, 10]}
        assert len({path for split in dataset.splits.values() for path in paths(split)}) == 75


def paths(split: Split) -> list[Path]:
    assert isinstance(split.images, FileImages)
    return list(split.images.paths)


class TestSources:
    def test_a_file_a_folder_that_holds_it_and_a_folder_of_images(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "pneumoniamnist.npz", **arrays())
        assert load_dataset(tmp_path / "pneumoniamnist.npz").name == "pneumoniamnist"
        assert load_dataset(tmp_path).name == "pneumoniamnist"
        for name in ("cat", "dog"):
            write_images(tmp_path / "images" / name, 5)
        assert load_dataset(tmp_path / "images").name == "images"
