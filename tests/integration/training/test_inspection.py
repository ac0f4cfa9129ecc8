"""Damaged files, leakage, grouped draws, the cache of checks, and several findings an image."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calibration.wording import typed
from tests.builders import trees
from tests.builders.finding_sets import NAMES, compose, write_npz, write_table
from training.datasets import Dataset, FileImages, Split, file_facts, load_dataset
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


def rates(dataset: Dataset) -> dict[str, np.ndarray]:
    return {name: np.nanmean(split.labels, axis=0) for name, split in dataset.splits.items()}


def table(folder: Path, text: str) -> Path:
    images, _ = compose(12)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


def test_a_column_for_each_finding(tmp_path: Path) -> None:
    path = write_table(tmp_path / "set", 400, blanks=0.4, per_patient=4)
    dataset = load_dataset(path)
    assert dataset.has_findings
    assert dataset.classes == NAMES
    labels = np.concatenate([split.labels for split in dataset.splits.values()])
    assert labels.shape[1] == 3
    assert 0.3 < np.isnan(labels).mean() < 0.5
    assert any("unknown, not negative" in note for note in dataset.notes)
    groups = [set(split.groups.tolist()) for split in dataset.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 100


def test_splits_have_their_share_of_the_rarest_finding(tmp_path: Path) -> None:
    dataset = load_dataset(write_table(tmp_path / "set", 400))
    positives = {name: (split.labels == 1).sum(axis=0) for name, split in dataset.splits.items()}
    total = sum(positives.values())
    np.testing.assert_allclose(positives["test"], total * 0.2, atol=1)
    np.testing.assert_allclose(positives["val"], total * 0.16, atol=1)
    assert len(dataset.splits["test"]) == pytest.approx(80, abs=3)


def test_lists_are_asked_about_and_then_read(tmp_path: Path) -> None:
    path = write_table(tmp_path / "set", 200, lists=True)
    with pytest.raises(BadDataset, match="looked for") as refused:
        load_dataset(path)
    assert "give exclusive=True" in str(refused.value)
    assert "--" not in str(refused.value)
    with typed(), pytest.raises(BadDataset, match=r"--findings 'A\|B\|C'.* --exclusive"):
        load_dataset(path)
    dataset = load_dataset(path, findings="*")
    assert sorted(dataset.classes) == sorted(NAMES)
    _, labels = compose(200)
    found = sum(np.array(counts) for counts in dataset.counts.values())
    expected = dict(zip(NAMES, labels.sum(axis=0), strict=True))
    assert dict(zip(dataset.classes, found, strict=True)) == expected
    assert not any("left blank" in note for note in dataset.notes)
    text = path.read_text()
    path.write_text(text.replace("No Finding", ""))
    notes = load_dataset(path, findings="*").notes
    blank = text.count("No Finding")
    assert f"{blank} lists left blank: unknown; 'No Finding' says none" in notes
    text = text.replace(NAMES[0], "Ede\u0300me")
    path.write_text(text, encoding="utf-8")  # as a Mac writes it
    assert load_dataset(path, findings="Ed\u00e8me|seven|nought").classes[0] == "Ed\u00e8me"
    with pytest.raises(BadDataset, match="not among the findings"):
        load_dataset(path, findings="three|seven")
    with pytest.raises(BadDataset, match="test has no image of Ed"):  # a class of each combination
        load_dataset(path, exclusive=True)


def test_the_set_looked_for_may_differ_by_image(tmp_path: Path) -> None:
    labeled = ["a,a|b", "b|a,a|b", "No Finding,a|b"] * 2 + ["a,a"] * 6
    splits = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    lines = [f"{n}.png,{cells},{splits[n]}" for n, cells in enumerate(labeled)]
    path = table(tmp_path, "\n".join(["path,label,looked_for,split", *lines]))
    dataset = load_dataset(path)
    assert dataset.classes == ("a", "b")
    assert not np.isnan(dataset.splits["train"].labels).any()
    assert np.isnan(dataset.splits["val"].labels[:, 1]).all()


def test_one_hot_rows_are_classes_unless_findings_are_named(tmp_path: Path) -> None:
    lines = [f"{n}.png,{n % 2},{1 - n % 2}" for n in range(12)]
    path = table(tmp_path, "\n".join(["path,Cat,Dog", *lines]))
    dataset = load_dataset(path)
    assert not dataset.has_findings
    assert dataset.classes == ("Cat", "Dog")
    assert any("findings='*'" in note for note in dataset.notes)
    assert load_dataset(path, findings="*").has_findings
    assert load_dataset(path, findings="Dog").classes == ("Dog",)


def test_uncertain_labels_are_missing_unless_told(tmp_path: Path) -> None:
    cells = ["1,0", "0,1", "-1,1", ",0"] * 3
    lines = [f"{n}.png,{61 + n},{cell}" for n, cell in enumerate(cells)]
    path = table(tmp_path, "\n".join(["Path,Age,Edema,Mass", *lines]))
    unknown = {
        value: sum(
            int(np.isnan(split.labels[:, 0]).sum())
            for split in load_dataset(path, uncertain=value).splits.values()
        )
        for value in ("missing", "present")
    }
    assert unknown == {"missing": 6, "present": 3}
    assert load_dataset(path).classes == ("Edema", "Mass")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("path,grade\n0.png,2\n1.png,3\n", "no column label"),
        ("path,Edema\n0.png,1\n1.png,7\n", "no column label"),
        ("path,Edema,Mass\n0.png,1,0\n1.png,1,0\n", "Mass"),
        ("path,Edema,Mass\n0.png,1,\n1.png,,1\n", r"none of 1, 0, -1 and blank \(unknown\)"),
        ("path,Edema,Edema\n0.png,1,0\n1.png,0,1\n", "two columns"),
    ],
)
def test_what_is_no_finding_is_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(BadDataset, match=match):
        load_dataset(table(tmp_path, text))


def test_labels_of_shape_n_k(tmp_path: Path) -> None:
    write_npz(tmp_path / "set.npz", 100, blanks=0.2)
    dataset = load_dataset(tmp_path / "set.npz")
    assert dataset.has_findings
    assert dataset.classes == NAMES
    assert dataset.splits["train"].labels.shape == (60, 3)
    assert rates(dataset)["train"][0] == pytest.approx(0.5, abs=0.2)
    chosen = load_dataset(tmp_path / "set.npz", findings="nought|three")
    assert chosen.classes == ("nought", "three")
    assert chosen.fingerprint != dataset.fingerprint
    with pytest.raises(BadDataset, match="exclusive"):
        load_dataset(tmp_path / "set.npz", exclusive=True)
    with np.load(tmp_path / "set.npz") as archive:
        arrays = dict(archive)
    named = arrays | {"classes": np.array([*NAMES, "more"])}
    none = arrays | {"train_labels": arrays["train_labels"] * [1, 1, 0]}
    always = arrays | {"train_labels": arrays["train_labels"] ** [1, 1, 0]}
    for wrong, match in (
        (named, "4 findings"),
        (none, "train has no image of nought"),
        (always, "train has no image of no nought"),
    ):
        np.savez(tmp_path / "wrong.npz", **wrong)
        with pytest.raises(BadDataset, match=match):
            load_dataset(tmp_path / "wrong.npz")
