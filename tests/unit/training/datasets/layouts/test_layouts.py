"""Every layout is detected on a small copy of the real tree, with its quirks."""

from pathlib import Path

import pytest

from tests.builders import trees
from training.datasets import LAYOUTS, load_dataset
from training.datasets.errors import BadDataset


class TestRsna:
    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            ("ID_1_any,2", "does not have the form"),
            ("ID_000000000_any,1", "disagree"),
            ("x", "fewer"),
        ],
    )
    def test_an_invalid_row_is_refused(self, tmp_path: Path, row: str, complaint: str) -> None:
        trees.rsna(tmp_path, patients=2)
        with (tmp_path / "stage_1_train.csv").open("a") as lines:
            lines.write(row + "\n")
        with pytest.raises(BadDataset, match=complaint):
            load_dataset(tmp_path)


class TestDdsm:
    @pytest.mark.parametrize(
        ("old", "new"), [("BENIGN_WITHOUT_CALLBACK", "UNSURE"), ("/000000.dcm", "")]
    )
    def test_an_invalid_row_is_refused(self, tmp_path: Path, old: str, new: str) -> None:
        path = trees.ddsm(tmp_path, by_uid=True) / "mass_case_description_train_set.csv"
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(BadDataset, match=r"UNSURE|form VIEW"):
            load_dataset(tmp_path)


class TestCsv:
    def test_a_binary_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "own.csv").write_bytes(b"\xff\xfe\x00path")
        with pytest.raises(BadDataset, match="UTF-8"):
            load_dataset(tmp_path / "own.csv")


def test_every_layout_is_documented() -> None:
    page = (Path(__file__).parents[5] / "docs" / "training.md").read_text()
    assert [name for name in (*LAYOUTS, "medmnist") if f"| `{name}`" not in page] == []
