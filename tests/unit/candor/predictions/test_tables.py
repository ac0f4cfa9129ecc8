"""Files that a client sends."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from candor.predictions.image_files import image_files
from candor.predictions.tables import count_rows, read_columns, read_rows


def test_folders_are_searched_and_files_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("b.PNG", "deep/a.jpeg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    named = tmp_path / "notes.txt"
    assert image_files([tmp_path, named]) == [
        tmp_path / "b.PNG",
        tmp_path / "deep" / "a.jpeg",
        named,
    ]


def test_rows_are_read_alike_from_every_kind_of_table(tmp_path: Path) -> None:
    rows = [
        {"prediction_id": "abc", "label": "normal"},
        {"prediction_id": "def", "label": "benign", "source": "audit"},
    ]
    text = "prediction_id,label,source\nabc,normal,\ndef,benign,audit\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8-sig")
    (tmp_path / "labels.ndjson").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    columns = {
        name: [row.get(name) for row in rows] for name in ("prediction_id", "label", "source")
    }
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    for name in ("labels.csv", "labels.ndjson", "labels.parquet"):
        assert list(read_rows(tmp_path / name)) == rows, name
    # as spreadsheets save it in much of Europe
    (tmp_path / "sheet.csv").write_text(text.replace(",", ";"))
    assert list(read_rows(tmp_path / "sheet.csv")) == rows
    for name in ("labels.csv", "labels.ndjson", "labels.parquet", "sheet.csv"):
        assert read_columns(tmp_path / name) == ["prediction_id", "label", "source"]
    assert [count_rows(tmp_path / name) for name in ("labels.csv", "labels.parquet")] == [2, 2]
