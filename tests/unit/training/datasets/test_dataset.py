"""Loaders, splits and fingerprints; training sees the pixels that serving sees."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.image import InputSpec, decode
from tests.builders import trees
from tests.builders.datasets import arrays, write_images
from training.datasets import (
    ArrayImages,
    FileImages,
    Split,
    chosen_source,
    fingerprint,
    load_dataset,
)
from training.datasets.digits import read_digits
from training.datasets.errors import BadDataset, DataNotFound, LeakingSplits
from training.datasets.medmnist import PUBLISHED
from training.datasets.report import duplicates, overlaps

SPEC = InputSpec(channels=1, height=20, width=24, resize="stretch")


class TestMedMnist:
    def test_reads_splits_labels_and_the_names_of_a_known_set(self, tmp_path: Path) -> None:
        content = arrays()
        np.savez(tmp_path / "pneumoniamnist.npz", **content)
        dataset = load_dataset(tmp_path / "pneumoniamnist.npz")
        assert dataset.classes == ("normal", "pneumonia")
        assert (dataset.channels, dataset.size) == (1, 8)
        assert dataset.counts == {"train": [6, 6], "val": [3, 3], "test": [3, 3]}
        assert dataset.splits["val"].labels.dtype == np.int64
        native = InputSpec(channels=1, height=8, width=8, resize="stretch")
        np.testing.assert_array_equal(
            dataset.splits["test"].inputs(native)[:, 0], content["test_images"]
        )

    def test_color_images_and_class_names_from_the_file(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "own.npz", classes=np.array(["a", "b"]), **arrays(shape=(8, 8, 3)))
        dataset = load_dataset(tmp_path / "own.npz")
        assert (dataset.channels, dataset.classes) == (3, ("a", "b"))

    def test_unnamed_classes_are_numbered(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "own.npz", **arrays())
        assert load_dataset(tmp_path / "own.npz").classes == ("class_0", "class_1")

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (lambda c: c.pop("val_labels"), "val_labels"),
            (lambda c: c.update(train_images=c["train_images"].astype(float)), "uint8"),
            (lambda c: c.update(train_images=np.zeros((12, 8, 8, 8), np.uint8)), "uint8"),
            (lambda c: c.update(val_labels=np.zeros((6, 14), np.uint8)), "several shapes"),
            (lambda c: c.update(val_labels=np.full((6, 2), 2)), "findings"),
            (lambda c: c.update(test_labels=np.full(6, -1)), "negative"),
            (
                lambda c: c.update(
                    test_images=c["test_images"][:0], test_labels=c["test_labels"][:0]
                ),
                "empty",
            ),
            (lambda c: c.update(classes=np.array(["only"])), "names only 1"),
        ],
    )
    def test_an_invalid_file_is_refused_with_the_reason(
        self, tmp_path: Path, change: Callable[[dict[str, Any]], object], complaint: str
    ) -> None:
        content = arrays()
        change(content)
        np.savez(tmp_path / "set.npz", **content)
        with pytest.raises(BadDataset, match=complaint):
            load_dataset(tmp_path / "set.npz")

    def test_files_of_another_kind_and_pickles_are_not_opened(self, tmp_path: Path) -> None:
        (tmp_path / "page.npz").write_text("<html>403</html>")
        np.savez(tmp_path / "pickle.npz", train_images=np.array([{"a": 1}], dtype=object))
        for name in ("page.npz", "pickle.npz"):
            with pytest.raises(BadDataset, match="not a readable"):
                load_dataset(tmp_path / name)


class TestFolder:
    @pytest.mark.parametrize(
        ("counts", "said"),
        [
            ({"train/cat": 2, "train/dog": 2, "test/cat": 2, "test/cow": 2}, "cow"),
            ({"cat": 2}, "1 class"),
            ({"cat": 2, "dog": 0}, "dog: has no images"),
        ],
    )
    def test_classes_must_agree_be_two_and_have_images(
        self, tmp_path: Path, counts: dict[str, int], said: str
    ) -> None:
        for name, count in counts.items():
            write_images(tmp_path / name, count)
        with pytest.raises(BadDataset, match=said):
            load_dataset(tmp_path)

    def test_a_broken_image_is_named_when_it_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.jpg"
        path.write_bytes(b"not an image")
        with pytest.raises(BadDataset, match=r"broken\.jpg"):
            FileImages([path]).input(0, SPEC)


class TestPixels:
    """Decoding what a client would send gives exactly what training saw."""

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("resize", ["stretch", "crop"])
    def test_arrays_and_files(self, tmp_path: Path, channels: Any, resize: Any) -> None:
        write_images(tmp_path / "cat", 2, mode="RGB")
        spec = InputSpec(channels=channels, height=40, width=36, resize=resize)
        generator = np.random.default_rng(0)
        for images in (
            ArrayImages(generator.integers(0, 256, (2, 28, 28), dtype=np.uint8)),
            ArrayImages(generator.integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)),
            FileImages(sorted((tmp_path / "cat").iterdir())),
        ):
            for index in range(2):
                served = decode(images.encoded(index), spec)
                np.testing.assert_array_equal(served, images.input(index, spec))


class TestFingerprint:
    def test_changes_with_a_pixel_a_label_a_name_and_the_order(self) -> None:
        pixels, labels = np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3), np.array([0, 1, 0, 1])
        changed_pixels, changed_labels = pixels.copy(), labels.copy()
        changed_pixels[0, 0, 0] += 1
        changed_labels[0] = 1
        order = [1, 0, 2, 3]
        prints = [
            self.of(pixels, labels),
            self.of(changed_pixels, labels),
            self.of(pixels, changed_labels),
            self.of(pixels[order], labels[order]),
            self.of(pixels, labels, classes=("a", "c")),
        ]
        assert len(set(prints)) == len(prints)
        assert self.of(pixels.copy(), labels.copy()) == prints[0]

    @staticmethod
    def of(pixels: Any, labels: Any, classes: tuple[str, ...] = ("a", "b")) -> str:
        split = Split(ArrayImages(pixels), labels)
        return fingerprint(classes, {"train": split, "val": split, "test": split})


def test_digits_are_the_same_every_time_and_their_test_split_is_harder() -> None:
    dataset = read_digits()
    assert dataset.fingerprint == read_digits().fingerprint
    native = InputSpec(channels=1, height=32, width=32, resize="stretch")
    clean, corrupted = dataset.splits["val"].inputs(native), dataset.splits["test"].inputs(native)
    assert corrupted.std() < clean.std()
    assert len(np.unique(corrupted)) > len(np.unique(clean))


class TestSources:
    def test_a_missing_source_lists_the_alternatives(self, tmp_path: Path) -> None:
        with pytest.raises(DataNotFound, match=r"medmnist .*pneumoniamnist\.npz"):
            load_dataset(tmp_path / "nowhere")

    def test_a_given_source_comes_before_the_data_folder_and_that_before_digits(
        self, tmp_path: Path
    ) -> None:
        assert chosen_source(None, None)[0] == chosen_source(None, tmp_path)[0] == "digits"
        assert load_dataset("digits").name == "digits-corrupted"
        np.savez(tmp_path / "pneumoniamnist.npz", **arrays())
        held, _ = chosen_source(None, tmp_path)
        assert load_dataset(held).name == "pneumoniamnist"
        assert chosen_source("own", tmp_path)[0] == "own"
        with pytest.raises(DataNotFound, match="does not exist"):
            chosen_source(None, tmp_path / "nowhere")

    def test_an_unknown_option_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="grup"):
            load_dataset("digits", grup="none")  # type: ignore[call-arg]


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
        monkeypatch.setitem(PUBLISHED, "pneumoniamnist", ((6, 6, 6), "normal; pneumonia"))
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
        assert overlaps(splits) == [
            "1 image content in both train and val (2 images of train, 1 of val; e.g. "
            "train[2] = val[0])",
            "1 patient or group in both train and test (2 images of train, 1 of test; e.g. "
            "train[0] = test[0])",
        ]
        assert duplicates(splits) == {"train": 1, "val": 0, "test": 0}

    def test_a_pattern_needs_names(self, tmp_path: Path) -> None:
        with pytest.raises(BadDataset, match="no file names"):
            load_dataset(tmp_path, layout="medmnist", group_pattern="x")


def test_the_real_sets(data_folder: Path) -> None:
    """Published splits share a few images; see docs/training.md."""
    dataset = load_dataset(data_folder / "pneumoniamnist.npz")
    (shared,) = overlaps(dataset.splits)
    assert shared.startswith(
        "8 image contents in both train and val (10 images of train, 8 of val; "
    )
    assert duplicates(dataset.splits) == {"train": 18, "val": 0, "test": 3}
    assert dataset.fingerprint == fingerprint(dataset.classes, dataset.splits)
