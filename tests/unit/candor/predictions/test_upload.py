"""Uploads that are interrupted and go on; file names as request ids."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from candor.predictions.errors import PredictionsRefused
from candor.predictions.image_files import (
    FileIdRule,
    file_id,
    require_distinct,
    require_distinct_rows,
)
from candor.predictions.upload import Rows, TableUpload, require_columns
from candor.predictions.upload_columns import label_item

COLUMNS = {"prediction_id", "label"}


class MonitoredModel:
    """Takes rows, rejects the label "cat", and breaks off when told to."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.break_at: int | None = None

    def __call__(self, rows: Rows) -> Mapping[str, Any]:
        if self.break_at is not None and len(self.taken) >= self.break_at:
            raise ConnectionError
        self.taken += [row["prediction_id"] for row in rows]
        wrong = [number for number, row in enumerate(rows, 1) if row.get("label") == "cat"]
        statuses = Counter(accepted=len(rows) - len(wrong), rejected=len(wrong))
        return {
            "statuses": +statuses,
            "problems": [{"line": n, "status": "rejected", "detail": "no"} for n in wrong],
        }


def quiet(_stage: str, _done: int, _total: int) -> None:
    pass


def write(file: Path, rows: int = 10) -> None:
    lines = [f"id-{number},{'cat' if number % 4 == 0 else 'normal'},note" for number in range(rows)]
    file.write_text("\n".join(["prediction_id,label,remark", *lines]))


def run(file: Path, monitored: MonitoredModel) -> Any:
    upload = TableUpload(
        file, lambda row: {name: value for name, value in row.items() if name in COLUMNS}
    )
    return upload.run(monitored, progress=quiet, portion=3)


def test_an_interrupted_upload_goes_on_where_it_was(tmp_path: Path) -> None:
    file, monitored = tmp_path / "labels.csv", MonitoredModel()
    write(file)
    monitored.break_at = 6
    with pytest.raises(ConnectionError):
        run(file, monitored)
    assert (tmp_path / "labels.csv.progress").exists()
    monitored.break_at = None
    done = run(file, monitored)
    assert monitored.taken == [f"id-{number}" for number in range(10)]
    assert (done.rows, done.began, done.rejected) == (10, 6, 3)
    assert done.statuses == {"accepted": 7, "rejected": 3}
    assert not (tmp_path / "labels.csv.progress").exists()
    with (tmp_path / "labels.csv.rejected.csv").open(newline="") as stream:
        rejected = list(csv.DictReader(stream))
    assert [(row["row"], row["prediction_id"], row["remark"]) for row in rejected] == [
        ("1", "id-0", "note"),
        ("5", "id-4", "note"),
        ("9", "id-8", "note"),
    ]
    assert rejected[0]["reason"] == "no"


def test_another_content_begins_anew(tmp_path: Path) -> None:
    file, monitored = tmp_path / "labels.csv", MonitoredModel()
    write(file)
    monitored.break_at = 6
    with pytest.raises(ConnectionError):
        run(file, monitored)
    write(file, rows=12)
    monitored.taken, monitored.break_at = [], None
    assert run(file, monitored).rows == 12
    assert len(monitored.taken) == 12
    assert (tmp_path / "labels.csv.rejected.csv").read_text().count("cat") == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a column label; found none"),
        ("prediction_id,label\n", "has a header, but no row below it"),
        ("prediction_id\nabc\n", "expected a column label; found 'prediction_id'"),
        ("image,label\nx,y\n", "expected a column file or prediction_id; found 'image', 'label'"),
    ],
)
def test_a_file_without_what_is_needed_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(PredictionsRefused, match=said):
        require_columns(tmp_path / "labels.csv", ("label",), ("file", "prediction_id"))


def test_labels_sorted_by_class_are_sent_mixed_and_an_interruption_does_not_matter(
    tmp_path: Path,
) -> None:
    """As made from a folder; one class after the other would raise a false drift alarm."""
    file, monitored = tmp_path / "labels.csv", MonitoredModel()
    names = [f"id-{number}" for number in range(60)]
    lines = [f"{name},{'cat' if number < 30 else 'normal'}" for number, name in enumerate(names)]
    file.write_text("\n".join(["prediction_id,label", *lines]))
    upload = TableUpload(file, dict, mixed=("label",))
    monitored.break_at = 30
    with pytest.raises(ConnectionError):
        upload.run(monitored, progress=quiet, portion=10)
    monitored.break_at = None
    done = upload.run(monitored, progress=quiet, portion=10)
    assert (upload.is_grouped, done.rows, sorted(monitored.taken)) == (True, 60, sorted(names))
    first = [names.index(name) < 30 for name in monitored.taken[:30]]
    assert 8 <= sum(first) <= 22
    with (tmp_path / "labels.csv.rejected.csv").open(newline="") as stream:
        rejected = list(csv.DictReader(stream))
    assert {(row["row"], row["prediction_id"]) for row in rejected} == {
        (str(n + 1), names[n]) for n in range(30)
    }


def test_labels_in_any_other_order_are_sent_as_they_are(tmp_path: Path) -> None:
    file, monitored = tmp_path / "labels.csv", MonitoredModel()
    write(file, rows=40)
    upload = TableUpload(file, dict, mixed=("label",))
    upload.run(monitored, progress=quiet)
    assert (upload.is_grouped, monitored.taken) == (False, [f"id-{number}" for number in range(40)])


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
