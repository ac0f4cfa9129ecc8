"""Notes on data: a class that its format gives away, an unusual table."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders import trees
from training.datasets import load_dataset
from training.datasets.errors import BadDataset, UnclearGroups

Change = Callable[[Image.Image], Image.Image]


def folder(
    root: Path,
    *,
    count: int = 30,
    ill: Change | None = None,
    suffix: str = ".png",
    others: int = 60,
) -> Path:
    """`count` images of the class ill, changed by `ill` and saved under `suffix`, and others."""
    some = trees.pictures(side=24)
    for name, images, change, end in (("ill", count, ill, suffix), ("a", others, None, ".png")):
        (root / name).mkdir(parents=True)
        for number in range(images):
            image = Image.fromarray(next(some))
            (change(image) if change else image).save(root / name / f"{number}{end}")
    return root


def in_color(image: Image.Image) -> Image.Image:
    return Image.merge("RGB", [image, image.rotate(90), image])


def framed(image: Image.Image) -> Image.Image:
    wide = Image.new("L", (32, 32))
    wide.paste(image, (4, 4))
    return wide.resize((24, 24), Image.Resampling.NEAREST)


def notes(root: Path) -> list[str]:
    return [each for each in load_dataset(root).notes if "gives the class" in each]


@pytest.mark.parametrize(
    ("ill", "suffix", "said"),
    [
        (in_color, ".png", "30 of its 30 images are in color"),
        (None, ".jpg", "30 of its 30 images are .jpg files"),
        (framed, ".png", "30 of its 30 images are framed"),
        (lambda image: image.resize((48, 48)), ".png", "images are larger"),
        (lambda image: image.resize((24, 12)), ".png", "images are wider"),
    ],
)
def test_a_class_that_its_format_gives_away(
    tmp_path: Path, ill: Change | None, suffix: str, said: str
) -> None:
    sentences = notes(folder(tmp_path, ill=ill, suffix=suffix))
    assert any("the class 'ill'" in each and said in each for each in sentences), sentences


def test_what_some_images_of_every_class_have_gives_nothing_away(tmp_path: Path) -> None:
    """Half of each class in color, sizes that vary, and three images alike by chance."""
    generator = np.random.default_rng(0)

    def varied(image: Image.Image) -> Image.Image:
        image = image.resize((int(generator.integers(20, 60)), int(generator.integers(20, 60))))
        return in_color(image.resize((24, 24))) if generator.random() < 0.5 else image

    root = folder(tmp_path, ill=varied)
    for path in sorted((root / "a").iterdir()):
        with Image.open(path) as image:
            varied(image).save(path)
    assert notes(root) == []
    few = folder(tmp_path / "few", count=3, others=6)
    for path in list((few / "ill").iterdir()):
        path.rename(path.with_suffix(".PNG"))
    assert notes(few) == []


def test_a_rare_class_in_another_format_is_found(tmp_path: Path) -> None:
    (said, *_) = notes(folder(tmp_path, count=3, others=200, ill=in_color))
    assert "3 of its 3 images are in color, and 0 of the 200 others" in said


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
        with pytest.raises(BadDataset, match="no column 'key' for --group; it has code"):
            load_dataset(path, group="key")

    def test_classes_that_differ_in_case_alone_are_asked_about(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, between=",", column="age")
        rows = path.read_text(encoding="utf-8-sig")
        path.write_text(rows.replace(",yes,", ",Yes,", 3))
        assert "'Yes', 'yes' are different classes: if not, use one" in load_dataset(path).notes
        path.write_text(rows.replace("path,label", "image,diagnosis"))
        with pytest.raises(BadDataset, match="Rename the one with the image files to path"):
            load_dataset(path)

    def test_prefixes_and_folders_that_repeat_are_asked_about(self, tmp_path: Path) -> None:
        some = trees.pictures()
        for root, place in (("a", "{}/s{:03}_{}.png"), ("b", "{}/s{:03}/{}.png")):
            for patient in range(16):
                for image in range(4):
                    name = place.format("yn"[patient % 2], patient, image)
                    trees.write(tmp_path / root / name, next(some))
            with pytest.raises(UnclearGroups) as asked:
                load_dataset(tmp_path / root)
            (pattern,) = re.findall(r"group_pattern='(.*?)',", str(asked.value))
            splits = load_dataset(
                tmp_path / root, group_pattern=pattern.replace(r"\\", "\\")
            ).splits
            groups = [split.groups for split in splits.values()]
            assert sum(len(set(each.tolist())) for each in groups if each is not None) == 16

    def test_a_pattern_finds_groups_in_absolute_paths(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, between=",", column="age")
        dataset = load_dataset(path, group_pattern=r"elsewhere/\[([0-9])")
        assert dataset.splits["train"].groups is not None
        assert not [each for each in dataset.notes if "not used" in each]
