"""Every layout is detected on a small copy of the real tree, with its quirks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.image import InputSpec
from tests.builders import trees
from tests.builders.dicoms import dicom
from training.datasets import Dataset, FileImages, Split, load_dataset
from training.datasets.errors import BadDataset, CorruptDataset
from training.errors import UnknownName


def names(split: Split) -> list[str]:
    assert split.names is not None
    return list(split.names)


def groups(dataset: Dataset) -> dict[str, set[int]]:
    found = {}
    for name, split in dataset.splits.items():
        assert split.groups is not None
        found[name] = set(split.groups.tolist())
    return found


def apart(dataset: Dataset) -> bool:
    """Whether no group is in two splits."""
    found = groups(dataset)
    return sum(map(len, found.values())) == len(set().union(*found.values()))


def further(notes: Sequence[str]) -> tuple[str, ...]:
    """The notes without the one that these small trees always get."""
    return tuple(note for note in notes if "too small for" not in note)


class TestMendeley:
    def test_kaggles_copy(self, tmp_path: Path) -> None:
        dataset = load_dataset(trees.mendeley(tmp_path))
        assert (dataset.layout, dataset.name, dataset.classes) == (
            "mendeley",
            "mendeley-v2",
            ("normal", "pneumonia"),
        )
        assert {name: sum(counts) for name, counts in dataset.counts.items()} == {
            "train": 22,
            "val": 6,
            "test": 8,
        }
        assert all(name.startswith("test/") for name in names(dataset.splits["test"]))
        assert not any("/._" in name for split in dataset.splits.values() for name in names(split))
        assert "4 images of val are put back" in dataset.notes[0]
        assert dataset.channels == 3  # a few files of the real set are color too

    def test_patients_stay_together_and_test_numbers_its_own(self, tmp_path: Path) -> None:
        dataset = load_dataset(trees.mendeley(tmp_path, wrapped=False, val=False), seed=3)
        assert further(dataset.notes) == ()
        assert apart(dataset)
        train, val = names(dataset.splits["train"]), names(dataset.splits["val"])
        patients = [
            {name.split("_")[0] for name in each if "person" in name} for each in (train, val)
        ]
        assert patients[0]
        assert patients[1]
        assert not patients[0] & patients[1]

    def test_only_the_published_test_split_counts_as_published(self, tmp_path: Path) -> None:
        trees.mendeley(tmp_path, wrapped=False)
        (tmp_path / "test/NORMAL/copy.jpeg").write_bytes(
            (tmp_path / "train/NORMAL/IM-101-0000.jpeg").read_bytes()
        )
        with pytest.raises(BadDataset, match=r"1 image content in both.*copy\.jpeg"):
            load_dataset(tmp_path)


class TestKather:
    def test_the_papers_draw_parts_slides_and_says_so(self, tmp_path: Path) -> None:
        dataset = load_dataset(trees.kather(tmp_path))
        assert (dataset.layout, len(dataset.classes), dataset.classes[0]) == ("kather", 8, "tumor")
        assert dataset.counts == {"train": [13] * 8, "val": [3] * 8, "test": [4] * 8}
        assert not apart(dataset)
        assert any(
            "patient or group" in note or "patients or groups" in note for note in dataset.notes
        )

    def test_the_grouped_draw_keeps_slides(self, tmp_path: Path) -> None:
        dataset = load_dataset(trees.kather(tmp_path), layout="kather-slides")
        assert apart(dataset)
        assert dataset.counts == {"train": [12] * 8, "val": [4] * 8, "test": [4] * 8}
        assert further(dataset.notes) == ()

    def test_a_tile_without_a_slide_is_refused(self, tmp_path: Path) -> None:
        trees.kather(tmp_path)
        trees.write(next(tmp_path.rglob("08_EMPTY")) / "tile.tif", next(trees.pictures()) // 2)
        assert load_dataset(tmp_path).layout == "kather"
        with pytest.raises(BadDataset, match="slide"):
            load_dataset(tmp_path, layout="kather-slides")


class TestRsna:
    def test_labels_patients_window_and_the_known_defect(self, tmp_path: Path) -> None:
        dataset = load_dataset(trees.rsna(tmp_path))
        assert (dataset.layout, dataset.classes) == ("rsna", ("no hemorrhage", "hemorrhage"))
        assert dataset.window == (40.0, 80.0)
        assert sum(sum(counts) for counts in dataset.counts.values()) == 40
        assert apart(dataset)
        assert {name: len(each) for name, each in groups(dataset).items()} == {
            "train": 13,
            "val": 3,
            "test": 4,
        }
        assert [each.path.stem for each in dataset.excluded] == ["ID_6431af929"]
        assert further(dataset.notes) == ("6 repeated rows of stage_1_train.csv dropped",)
        for split in dataset.splits.values():
            bleeds = [int(Path(name).stem[3:7], 16) % 2 for name in names(split)]
            assert split.labels.tolist() == bleeds

    def test_pixels_by_the_brain_window_not_the_files(self, tmp_path: Path) -> None:
        dataset = load_dataset(trees.rsna(tmp_path, patients=10))
        images = dataset.splits["train"].images
        assert isinstance(images, FileImages)
        spec = InputSpec(1, 8, 8, window=dataset.window)
        other = InputSpec(1, 8, 8)
        assert any(
            not np.array_equal(images.input(at, spec), images.input(at, other))
            for at in range(len(images))
        )
        assert load_dataset(tmp_path, window=(600, 2800)).window == (600, 2800)


class TestDdsm:
    @pytest.mark.parametrize("by_uid", [True, False])
    def test_both_trees(self, tmp_path: Path, by_uid: bool) -> None:
        dataset = load_dataset(trees.ddsm(tmp_path, by_uid=by_uid))
        assert (dataset.layout, dataset.classes) == ("ddsm", ("benign", "malignant"))
        assert dataset.counts["test"] == [4, 4]
        assert np.sum([dataset.counts["train"], dataset.counts["val"]], axis=0).tolist() == [8, 8]
        assert apart(dataset)
        for split in dataset.splits.values():
            patients = [int(name.split("_P_")[1][:5]) for name in names(split)]
            assert split.labels.tolist() == [int(patient % 2 == 0) for patient in patients]
            assert not any("_1/" in name for name in names(split))

    def test_a_missing_file_is_listed_under_the_path_of_the_table(self, tmp_path: Path) -> None:
        trees.ddsm(tmp_path, by_uid=True)
        next(tmp_path.glob("Mass-Training_P_00001_LEFT_CC/*/*/*.dcm")).unlink()
        with pytest.raises(CorruptDataset, match=r"1 of 24 images.*P_00001_LEFT_CC.*no such file"):
            load_dataset(tmp_path)
        dataset = load_dataset(tmp_path, max_corrupt=0.1)
        assert len(dataset.excluded) == 1

    def test_a_patient_in_two_published_splits_is_noted(self, tmp_path: Path) -> None:
        """Some patients have a mass in train and a calcification in test."""
        trees.ddsm(tmp_path, by_uid=True)
        path = tmp_path / "mass_case_description_test_set.csv"
        path.write_text(path.read_text().replace("P_00009,", "P_00001,"))
        notes = load_dataset(tmp_path).notes
        assert any("1 patient or group in both" in note and "published" in note for note in notes)


class TestCsv:
    def test_a_table_with_groups(self, tmp_path: Path) -> None:
        some = trees.pictures()
        rows = [(f"images/{at}.png", "yes" if at % 3 else "no", f"p{at // 2}") for at in range(40)]
        for path, *_ in rows:
            trees.write(tmp_path / path, next(some))
        trees.table(tmp_path / "labels.csv", ("Path", "Label", "Group"), [*rows, rows[0]])
        dataset = load_dataset(tmp_path / "labels.csv")
        assert (dataset.layout, dataset.classes) == ("csv", ("no", "yes"))
        assert apart(dataset)
        assert further(dataset.notes) == ("1 repeated row dropped",)
        assert load_dataset(tmp_path).fingerprint == dataset.fingerprint

    def test_its_own_splits_and_numbers_as_classes(self, tmp_path: Path) -> None:
        some = trees.pictures()
        rows = []
        for split, label in [
            (split, label) for split in ("train", "validation", "test") for label in (2, 10, 1)
        ]:
            rows.append(
                (trees.write(tmp_path / f"{split}{label}.png", next(some)).name, label, split)
            )
        dataset = load_dataset(trees.table(tmp_path / "own.csv", ("path", "label", "split"), rows))
        assert dataset.classes == ("1", "2", "10")
        assert names(dataset.splits["val"]) == [
            "validation2.png",
            "validation10.png",
            "validation1.png",
        ]

    @pytest.mark.parametrize(
        ("header", "rows", "complaint"),
        [
            (("file", "label"), [("a", "b")], "no column path"),
            (("path", "label"), [("a", "")], "needs both"),
            (("path", "label"), [("a", "x")], "1 label"),
            (("path", "label"), [("a", "x"), ("a", "y")], "disagree"),
            (("path", "label", "split"), [("a", "x", "dev"), ("b", "y", "dev")], "'dev'"),
            (
                ("path", "label", "split"),
                [("a.png", "x", "train"), ("b.png", "y", "")],
                r"splits \(none\), train",
            ),
        ],
    )
    def test_an_invalid_file_is_refused_with_the_reason(
        self, tmp_path: Path, header: Any, rows: Any, complaint: str
    ) -> None:
        some = trees.pictures()
        for name in ("a.png", "b.png"):
            trees.write(tmp_path / name, next(some))
        with pytest.raises(BadDataset, match=complaint):
            load_dataset(trees.table(tmp_path / "own.csv", header, rows))


class TestDicomFolder:
    def test_patients_are_read_from_the_files_and_kept_together(self, tmp_path: Path) -> None:
        for patient in range(20):
            folder = tmp_path / ("ill" if patient % 2 else "well") / f"study {patient}"
            folder.mkdir(parents=True)
            for image in range(2):
                pixels = np.full((6, 6), 100 * patient + image, np.uint16)
                pixels[0, 0] = 0
                (folder / f"{image}.dcm").write_bytes(dicom(pixels, PatientID=f"Doe^{patient}"))
        dataset = load_dataset(tmp_path, cache=tmp_path / "cache")
        assert apart(dataset)
        assert {name: sum(counts) for name, counts in dataset.counts.items()} == {
            "train": 26,
            "val": 6,
            "test": 8,
        }
        kept = next((tmp_path / "cache").rglob("*.db")).read_bytes()
        assert b"Doe" not in kept

    def test_a_patient_common_to_all_is_not_a_group(self, tmp_path: Path) -> None:
        for at, folder in enumerate(["a", "b"] * 6):
            pixels = np.arange(36, dtype=np.uint16).reshape(6, 6) + 7 * at
            pixels[0, 0] = at
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{at}.dcm").write_bytes(dicom(pixels, PatientID="ANONYMOUS"))
        assert "the same PatientID" in load_dataset(tmp_path).notes[0]


def test_a_layout_can_be_forced_and_must_be_there(tmp_path: Path) -> None:
    trees.mendeley(tmp_path, wrapped=False, val=False)
    assert load_dataset(tmp_path).layout == "mendeley"
    forced = load_dataset(tmp_path, layout="folder")
    assert (forced.layout, forced.classes) == ("folder", ("NORMAL", "PNEUMONIA"))
    with pytest.raises(BadDataset, match=r"not in the layout rsna; expected stage_1_train"):
        load_dataset(tmp_path, layout="rsna")
    with pytest.raises(UnknownName, match="kather-slides"):
        load_dataset(tmp_path, layout="kaggle")
