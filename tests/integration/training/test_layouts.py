"""Tables and folders as they lie on disk, and the paper's data sets as docs/training.md says."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

from tests.builders import trees
from tests.builders.datasets import write_images
from tests.builders.dicoms import dicom
from training.datasets import LAYOUTS, Dataset, Split, load_dataset
from training.datasets.errors import BadDataset, UnclearGroups
from training.errors import UnknownName
from training.experiments.presets import MENDELEY_PATIENT, PLACES

PAGE = (Path(__file__).parents[3] / "docs" / "training.md").read_text()


def names(split: Split) -> list[str]:
    assert split.names is not None
    return list(split.names)


def groups(dataset: Dataset) -> dict[str, set[int]]:
    found = {}
    for name, split in dataset.splits.items():
        found[name] = set(split.groups.tolist())
    return found


def apart(dataset: Dataset) -> bool:
    """Whether no group is in two splits."""
    found = groups(dataset)
    return sum(map(len, found.values())) == len(set().union(*found.values()))


def further(notes: Sequence[str]) -> tuple[str, ...]:
    """The notes without the one that these small trees always get."""
    return tuple(note for note in notes if "too small for" not in note)


class TestFolder:
    def test_own_splits_are_kept(self, tmp_path: Path) -> None:
        for split, count in (("train", 4), ("val", 2), ("test", 3)):
            for name in ("cat", "dog"):
                write_images(tmp_path / split / name, count)
        dataset = load_dataset(tmp_path)
        assert dataset.classes == ("cat", "dog")
        assert dataset.counts == {"train": [4, 4], "val": [2, 2], "test": [3, 3]}
        assert (dataset.channels, dataset.size) == (1, 13)

    def test_names_that_a_mac_decomposed_are_the_same(self, tmp_path: Path) -> None:
        composed, decomposed = (normalize(form, "Fibröse Läsion") for form in ("NFC", "NFD"))
        for split, name, count in (("train", composed, 4), ("test", decomposed, 3)):
            for folder in (name, "dog"):
                write_images(tmp_path / split / folder, count)
        dataset = load_dataset(tmp_path)
        assert dataset.classes == (composed, "dog")
        assert dataset.counts["test"] == [3, 3]
        files = sorted((tmp_path / "train" / composed).iterdir())
        rows = [
            f"{file},{name}" for file, name in zip(files, [composed, decomposed] * 2, strict=True)
        ]
        rows += [f"{file},dog" for file in sorted((tmp_path / "train" / "dog").iterdir())]
        (tmp_path / "table.csv").write_text("\n".join(["path,label", *rows]))
        assert load_dataset(tmp_path / "table.csv").classes == (composed, "dog")

    def test_without_val_a_fifth_of_train_becomes_it(self, tmp_path: Path) -> None:
        for split, count in (("train", 10), ("test", 3)):
            write_images(tmp_path / split / "cat", count)
            write_images(tmp_path / split / "dog", 2 * count, mode="RGB")
        dataset = load_dataset(tmp_path)
        assert dataset.counts == {"train": [8, 16], "val": [2, 4], "test": [3, 6]}
        assert dataset.channels == 3
        assert not set(names(dataset.splits["train"])) & set(names(dataset.splits["val"]))
        assert load_dataset(tmp_path).fingerprint == dataset.fingerprint
        assert load_dataset(tmp_path, seed=1).fingerprint != dataset.fingerprint

    def test_without_splits_all_three_are_drawn(self, tmp_path: Path) -> None:
        write_images(tmp_path / "cat", 25)
        write_images(tmp_path / "dog", 50)
        dataset = load_dataset(tmp_path)
        assert dataset.counts == {"train": [16, 32], "val": [4, 8], "test": [5, 10]}
        assert len({path for split in dataset.splits.values() for path in names(split)}) == 75


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
        rows = [
            (trees.write(tmp_path / f"{split}{label}.png", next(some)).name, label, split)
            for split in ("train", "validation", "test")
            for label in (2, 10, 1)
        ]
        dataset = load_dataset(trees.table(tmp_path / "own.csv", ("path", "label", "split"), rows))
        assert dataset.classes == ("1", "2", "10")
        assert names(dataset.splits["val"]) == [f"validation{label}.png" for label in (2, 10, 1)]

    @pytest.mark.parametrize(
        ("header", "rows", "complaint"),
        [
            (("file", "label"), [("a", "b")], "no column path"),
            (("path", "label"), [("a", "")], "needs both"),
            (("path", "label"), [("a", "x")], "1 label"),
            (("path", "label"), [], "0 labels"),
            (("path", "label"), [("a.png", "x"), ("b.png",)], "needs both"),
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

    def test_a_binary_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "own.csv").write_bytes(b"\xff\xfe\x00path")
        with pytest.raises(BadDataset, match="UTF-8"):
            load_dataset(tmp_path / "own.csv")


class TestTables:
    """A table of images elsewhere, whose patients have a column of another name."""

    @staticmethod
    def table(root: Path, *, between: str, column: str) -> Path:
        rows = [f"path{between}label{between}{column}"]
        some = trees.pictures()
        for at in range(40):
            path = trees.write(root / "elsewhere" / f"[{at}]:x.png", next(some))
            rows.append(between.join((str(path), "yes" if at % 2 else "no", f"p{at // 4}")))
        (root / "tables").mkdir()
        rows = ["# made by a tool, 2026", *rows, between * 2]  # tabs: as Excel's Unicode text
        encoding = "utf-16" if between == "\t" else "utf-8-sig"
        (root / "tables" / "own.csv").write_text("\n".join(rows), encoding)
        return root / "tables" / "own.csv"

    @pytest.mark.parametrize(("between", "said"), [(";", "semicolons (;)"), ("\t", "tabs")])
    def test_absolute_paths_and_other_separators(
        self, tmp_path: Path, between: str, said: str
    ) -> None:
        dataset = load_dataset(self.table(tmp_path, between=between, column="group"))
        assert sum(len(split) for split in dataset.splits.values()) == 40
        assert dataset.splits["train"].names[0].startswith(str(tmp_path / "elsewhere"))
        assert [each for each in dataset.notes if f"separated by {said}" in each]
        assert not [each for each in dataset.notes if "not used" in each]

    @pytest.mark.parametrize("column", ["Patient ID", "MRN", "slide", "accession_number"])
    def test_a_column_that_names_patients_is_used(self, tmp_path: Path, column: str) -> None:
        dataset = load_dataset(self.table(tmp_path, between=",", column=column))
        assert dataset.splits["train"].groups is not None
        assert [each for each in dataset.notes if f"{column!r} keeps" in each]

    def test_a_column_that_looks_like_patients_is_asked_about(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, between=",", column="code")
        path.write_text(re.sub(r",p(\d)", r",p0\1", path.read_text(encoding="utf-8-sig")))
        with pytest.raises(UnclearGroups, match=r"give group='code'.* give group='none'"):
            load_dataset(path)
        assert load_dataset(path, group="code").splits["train"].groups is not None
        assert load_dataset(path, group="none").splits["train"].groups is None
        with pytest.raises(BadDataset, match="no column 'key' for group; it has code"):
            load_dataset(path, group="key")

    def test_classes_that_differ_in_case_alone_are_asked_about(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, between=",", column="age")
        rows = path.read_text(encoding="utf-8-sig")
        path.write_text(rows.replace(",yes,", ",Yes,", 3))
        assert "'Yes', 'yes' are different classes: if not, use one" in load_dataset(path).notes
        path.write_text(rows.replace("path,label", "image,diagnosis"))
        with pytest.raises(BadDataset, match="Rename the one with the image files to path"):
            load_dataset(path)

    def test_a_pattern_finds_groups_in_absolute_paths(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, between=",", column="age")
        dataset = load_dataset(path, group_pattern=r"elsewhere/\[([0-9])")
        assert dataset.splits["train"].groups is not None
        assert not [each for each in dataset.notes if "not used" in each]


def test_every_layout_is_documented() -> None:
    assert [name for name in LAYOUTS if f"| `{name}`" not in PAGE] == []


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
        assert [sum(counts) for counts in dataset.counts.values()] == [26, 6, 8]
        kept = next((tmp_path / "cache").rglob("*.json")).read_bytes()
        assert b"Doe" not in kept

    def test_a_patient_common_to_all_is_not_a_group(self, tmp_path: Path) -> None:
        for at, folder in enumerate(["a", "b"] * 6):
            pixels = np.arange(36, dtype=np.uint16).reshape(6, 6) + 7 * at
            pixels[0, 0] = at
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{at}.dcm").write_bytes(dicom(pixels, PatientID="ANONYMOUS"))
        assert "the same PatientID" in load_dataset(tmp_path).notes[0]


def test_a_layout_can_be_forced_and_must_be_there(tmp_path: Path) -> None:
    trees.mendeley(tmp_path)
    assert load_dataset(tmp_path, layout="folder", group="none").layout == "folder"
    with pytest.raises(BadDataset, match="not in the layout csv"):
        load_dataset(tmp_path, layout="csv")
    with pytest.raises(UnknownName, match="folder"):
        load_dataset(tmp_path, layout="kaggle")


class TestThePapersDataSets:
    """As docs/training.md says, on small copies of the real trees, with their quirks."""

    def prepare(self, language: str, root: Path) -> None:
        """Run what the page says for RSNA (sh) or CBIS-DDSM (py) in the folder of the data set."""
        (script,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
        call = ["bash", "-euc"] if language == "sh" else [sys.executable, "-c"]
        subprocess.run([*call, script], cwd=root, check=True)

    def test_mendeley(self, tmp_path: Path) -> None:
        place = PLACES["Mendeley"]
        assert f"--group-pattern '{MENDELEY_PATIENT}'".replace("|", "\\|") in PAGE
        dataset = load_dataset(trees.mendeley(tmp_path), seed=3, **place.arguments)
        assert apart(dataset)
        train, val = names(dataset.splits["train"]), names(dataset.splits["val"])
        patients = [
            {name.split("_")[0] for name in each if "person" in name} for each in (train, val)
        ]
        assert all(patients)
        assert not patients[0] & patients[1]

    def test_kather_by_tile_and_by_slide(self, tmp_path: Path) -> None:
        trees.kather(tmp_path)
        dataset = load_dataset(tmp_path)
        assert dataset.counts == {"train": [13] * 8, "val": [3] * 8, "test": [4] * 8}
        (pattern,) = re.findall(r"by slide: `--group-pattern '(.*?)'`", PAGE)
        assert apart(load_dataset(tmp_path, group_pattern=pattern))

    def test_rsna(self, tmp_path: Path) -> None:
        self.prepare("sh", trees.rsna(tmp_path))
        dataset = load_dataset(tmp_path, **PLACES["RSNA"].arguments)
        assert (dataset.layout, dataset.classes, dataset.window) == ("csv", ("0", "1"), (40, 80))
        assert sum(sum(counts) for counts in dataset.counts.values()) == 40
        assert apart(dataset)
        assert dataset.excluded == ()
        for split in dataset.splits.values():
            bleeds = [int(Path(name).stem[3:7], 16) % 2 for name in names(split)]
            assert split.labels.tolist() == bleeds

    @pytest.mark.parametrize("by_uid", [True, False])
    def test_ddsm(self, tmp_path: Path, by_uid: bool) -> None:
        self.prepare("py", trees.ddsm(tmp_path, by_uid=by_uid))
        dataset = load_dataset(tmp_path)
        assert (dataset.layout, dataset.classes) == ("csv", ("benign", "malignant"))
        assert dataset.counts["test"] == [4, 4]
        assert apart(dataset)
        for split in dataset.splits.values():
            patients = [int(name.split("_P_")[1][:5]) for name in names(split)]
            assert split.labels.tolist() == [int(patient % 2 == 0) for patient in patients]
            assert not any("_1/" in name for name in names(split))
