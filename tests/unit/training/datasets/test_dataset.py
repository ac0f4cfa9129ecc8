"""Loaders, splits and fingerprints; training sees the pixels that serving sees."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.sampling import stratified_parts
from model_store.image import InputSpec, decode
from tests.builders.datasets import arrays, write_images
from training.datasets import ArrayImages, FileImages, Split, fingerprint, load_dataset, sources
from training.datasets.digits import read_digits
from training.datasets.errors import BadDataset, DataNotFound
from training.datasets.medmnist_files import read_medmnist
from training.datasets.medmnist_sets import MD5
from training.datasets.records import LoadedFrom

READ = LoadedFrom("")
SPEC = InputSpec(channels=1, height=20, width=24, resize="stretch")


class TestMedMnist:
    def test_reads_splits_labels_and_the_names_of_a_known_set(self, tmp_path: Path) -> None:
        content = arrays()
        np.savez(tmp_path / "pneumoniamnist.npz", **content)
        dataset = read_medmnist(tmp_path / "pneumoniamnist.npz", READ)
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
        dataset = read_medmnist(tmp_path / "own.npz", READ)
        assert (dataset.channels, dataset.classes) == (3, ("a", "b"))

    def test_unnamed_classes_are_numbered(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "own.npz", **arrays())
        assert read_medmnist(tmp_path / "own.npz", READ).classes == ("class_0", "class_1")

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
            read_medmnist(tmp_path / "set.npz", READ)

    def test_files_of_another_kind_and_pickles_are_not_opened(self, tmp_path: Path) -> None:
        (tmp_path / "page.npz").write_text("<html>403</html>")
        np.savez(tmp_path / "pickle.npz", train_images=np.array([{"a": 1}], dtype=object))
        for name in ("page.npz", "pickle.npz"):
            with pytest.raises(BadDataset, match="not a readable"):
                read_medmnist(tmp_path / name, READ)


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


def test_digits_are_the_same_every_time_and_their_test_split_is_harder() -> None:
    dataset = read_digits()
    assert dataset.fingerprint == read_digits().fingerprint
    native = InputSpec(channels=1, height=32, width=32, resize="stretch")
    clean, corrupted = dataset.splits["val"].inputs(native), dataset.splits["test"].inputs(native)
    assert corrupted.std() < clean.std()
    assert len(np.unique(corrupted)) > len(np.unique(clean))


class TestSources:
    def test_a_missing_source_lists_the_alternatives(self, tmp_path: Path) -> None:
        with pytest.raises(DataNotFound, match="pneumoniamnist"):
            load_dataset(tmp_path / "nowhere")

    def test_a_data_folder_comes_before_the_network(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "pneumoniamnist.npz", **arrays())
        found = sources.find_dataset(None, data_folder=tmp_path, cache=tmp_path / "cache")
        assert (found.origin, found.dataset.name) == ("data folder", "pneumoniamnist")

    def test_an_explicit_source_comes_first_and_is_never_replaced(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "pneumoniamnist.npz", **arrays())
        found = sources.find_dataset("digits", data_folder=tmp_path, cache=tmp_path / "cache")
        assert (found.origin, found.dataset.name) == ("digits", "digits-corrupted")
        with pytest.raises(DataNotFound):
            sources.find_dataset(
                tmp_path / "nowhere", data_folder=tmp_path, cache=tmp_path / "cache"
            )

    def test_a_data_folder_that_does_not_exist_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataNotFound, match="does not exist"):
            sources.find_dataset(None, data_folder=tmp_path / "nowhere", cache=tmp_path)

    def test_a_failed_download_falls_back_to_digits_and_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> Path:
            raise DataNotFound("no network")

        monkeypatch.setattr(sources, "download_medmnist", fail)
        found = sources.find_dataset(None, data_folder=None, cache=tmp_path)
        assert found.origin == "digits"
        assert "no network" in found.note

    def test_a_published_name_is_downloaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        np.savez(tmp_path / "breastmnist.npz", **arrays())
        monkeypatch.setattr(
            sources, "download_medmnist", lambda name, cache, progress: cache / f"{name}.npz"
        )
        assert "breastmnist" in MD5
        assert load_dataset("breastmnist", cache=tmp_path).classes == (
            "malignant",
            "normal, benign",
        )
