"""Class names from lists as makers write them."""

from pathlib import Path

import onnx
import pytest

from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.class_names import find_names, given_names


@pytest.mark.parametrize(
    "text",
    [
        "lung\nheart\n",
        "0 lung\n1 heart",
        "0: lung\n1: heart\n",
        '["lung", "heart"]',
        '{"labels": ["lung", "heart"]}',
        '{"0": "lung", "1": "heart"}',
        "{1: 'heart', 0: 'lung'}",
        "\ufefflung\r\nheart\r\n",
    ],
)
def test_a_file_of_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8")
    assert given_names(str(tmp_path / "labels.txt")).names == ("lung", "heart")


def test_names_with_commas_between_and_a_file_that_is_no_text(tmp_path: Path) -> None:
    assert given_names("lung, heart ,bone").names == ("lung", "heart", "bone")
    many = tuple(f"finding {number}" for number in range(80))  # longer than a file's name may be
    assert given_names("|".join(many)).names == given_names(",".join(many)).names == many
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ForeignModelRefused):
        given_names(str(tmp_path / "labels.txt"))


@pytest.mark.parametrize("hostile", ["[" * 5_000, "{" * 5_000, "(" * 5_000, "[1," * 2_000])
def test_nested_brackets_are_no_list(tmp_path: Path, hostile: str) -> None:
    (tmp_path / "labels.txt").write_text(hostile)
    assert given_names(str(tmp_path / "labels.txt")).names


def test_folders_are_the_last_resort_and_must_be_as_many() -> None:
    empty = onnx.ModelProto()
    for labels, folders, names in (
        ("", "ab", "ab"),
        ("xy", "ab", "xy"),
        ("01", "ab", "ab"),
        ("012", "01", "012"),
    ):
        found = find_names(None, empty, len(names), labels=tuple(labels), folders=tuple(folders))
        assert found.names == tuple(names)
    with pytest.raises(ForeignModelUnclear, match="classes="):
        find_names(None, empty, 4, labels=(), folders=("a", "b"))
