"""Files that a client sends."""

from pathlib import Path

import pytest

from serving.files import NothingToSend, image_files, read_labels


def test_folders_are_searched_and_files_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("b.PNG", "deep/a.jpeg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    named = tmp_path / "notes.txt"
    assert image_files([tmp_path, named]) == [tmp_path / "b.PNG", tmp_path / "deep" / "a.jpeg", named]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToSend, match="no image"):
        image_files([tmp_path])


def test_labels_are_read_from_a_csv_without_empty_fields(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("prediction_id,label,source\nabc,normal,\ndef,benign,audit\n", encoding="utf-8-sig")
    assert read_labels(file) == [
        {"prediction_id": "abc", "label": "normal"},
        {"prediction_id": "def", "label": "benign", "source": "audit"},
    ]


@pytest.mark.parametrize("text", ["", "prediction_id,label\n", "prediction_id\nabc\n", "prediction_id,label\nabc,\n"])
def test_a_file_without_labels_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(NothingToSend, match="label"):
        read_labels(tmp_path / "labels.csv")
