"""File names as request ids: the same on both sides, and never the same for two files."""

from pathlib import Path

import pytest

from candor.predictions.errors import PredictionsRefused
from candor.predictions.image_files import (
    FileIdRule,
    file_id,
    require_distinct,
    require_distinct_rows,
)
from candor.predictions.upload_columns import label_item


def test_accents_that_a_mac_decomposes_are_the_same_name() -> None:
    assert file_id("Mu\u0308ller.png", FileIdRule.FILENAME) == file_id(
        "M\u00fcller.png", FileIdRule.FILENAME
    )


def test_files_that_a_label_could_not_tell_apart_are_refused_before_anything_is_sent() -> None:
    files = [Path("ward-1/scan.png"), Path("ward-2/scan.png")]
    with pytest.raises(
        PredictionsRefused,
        match=r"ward-1/scan.png and ward-2/scan.png .* 'scan.png': .*--request-id path",
    ):
        require_distinct(files, FileIdRule.FILENAME)
    require_distinct(files, FileIdRule.PATH)
    with pytest.raises(PredictionsRefused, match="name each file once"):
        require_distinct([files[0], files[0]], FileIdRule.PATH)


def test_labels_of_different_files_that_name_one_answer_are_refused() -> None:
    """Each would correct the other's label, and one of the two answers would never get its own."""
    rows = [{"file": "normal/001.png", "label": "normal"}, {"file": "ill/001.png", "label": "ill"}]
    with pytest.raises(
        PredictionsRefused,
        match=r"normal/001.png and ill/001.png .* '001.png': .*--request-id path",
    ):
        require_distinct_rows(rows, FileIdRule.FILENAME)
    require_distinct_rows(rows, FileIdRule.PATH)
    require_distinct_rows([row | {"request_id": row["file"]} for row in rows], FileIdRule.FILENAME)
    require_distinct_rows(
        [rows[0] | {"model": "spine"}, rows[1] | {"model": "chest"}], FileIdRule.FILENAME
    )


def test_a_second_row_of_a_file_is_a_correction() -> None:
    rows = [
        {"file": "ward/scan.png", "label": "normal"},
        {"file": "./ward\\scan.png", "label": "ill"},
    ]
    require_distinct_rows(rows, FileIdRule.FILENAME)


@pytest.mark.parametrize(
    ("fields", "file", "sent"),
    [
        ({"prediction_id": "01a2", "model": "chest"}, "a.png", {"prediction_id": "01a2"}),
        ({}, "w/a.png", {"request_id": "a.png", "model": "spine"}),
        ({"model": "chest", "source": "x"}, None, {"source": "x", "model": "chest"}),
        ({"request_id": "r"}, "a.png", {"request_id": "r", "model": "spine"}),
    ],
)
def test_a_label_names_its_answer_by_what_is_surest(
    fields: dict[str, str], file: str | None, sent: dict[str, str]
) -> None:
    item = label_item({"label": "ill"} | fields, file=file, model="spine", rule=FileIdRule.FILENAME)
    assert item == {"label": "ill"} | sent
