"""Rows that belong together: found by name, asked about where a column only looks like it."""

import csv
from pathlib import Path
from typing import Any

import pytest

from calibration.measured import Standing
from candor.predictions.calibration import Calibration
from candor.predictions.columns import ColumnWishes
from candor.predictions.errors import ColumnsUnclear
from candor.predictions.labeled import Examining, ReadingOptions
from candor.predictions.reading import read_predictions
from candor.predictions.upload_columns import prediction_columns
from monitoring.logged.body import FIELDS

PATIENTS, EACH = 60, 20


def rows(name: str, value: Any) -> list[dict[str, Any]]:
    """Calibrated answers of .8, of 60 patients; of 20 images of one, all are right or all wrong."""
    found = []
    for patient in range(PATIENTS):
        right = patient < 44  # 73 %: not far from .8 for 60 patients, but for 1,200 images
        found += [
            {"p_no": 0.2, "p_yes": 0.8, "label": "yes" if right else "no", name: value(patient, n)}
            for n in range(EACH)
        ]
    return found


def written(folder: Path, name: str, value: Any) -> Path:
    table = rows(name, value)
    with (folder / "predictions.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder / "predictions.csv"


def examined(file: Path, **wishes: str) -> Calibration:
    read = read_predictions(file, ReadingOptions(wishes=ColumnWishes(**wishes)))
    return read.examined(Examining(title=""))


@pytest.mark.parametrize("name", ["mrn", "case", "Slide ID", "accession", "patient", "StudyUID"])
def test_a_column_that_is_called_so_keeps_rows_together(tmp_path: Path, name: str) -> None:
    found = examined(written(tmp_path, name, lambda patient, _: f"{patient:04}"))
    assert found.examination.groups == PATIENTS
    assert found.standing is Standing.NOT_SHOWN


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("fall", lambda patient, _: f"A{patient:05}", {"group": "fall"}),
        (
            "file",
            lambda patient, image: f"p{patient}_{image}.png",
            {"group_pattern": "^([^_. -]+)[_. -]"},
        ),
        (
            "image_path",
            lambda patient, image: f"scans\\pat{patient}\\{image}.png",
            {"group_pattern": "([^/]+)/[^/]+$"},
        ),
        ("mrn", lambda patient, _: str(patient % 3), {"group": "mrn"}),
    ],
)
def test_what_only_looks_like_it_is_a_question_with_its_answers(
    tmp_path: Path, name: str, value: Any, advice: dict[str, str]
) -> None:
    file = written(tmp_path, name, value)
    with pytest.raises(ColumnsUnclear) as asked:
        examined(file)
    option = f"--{next(iter(advice)).replace('_', '-')}"
    assert f"{option} '{next(iter(advice.values()))}'" in str(asked.value)
    assert "--group none" in str(asked.value)
    assert examined(file, **advice).examination.groups == (3 if name == "mrn" else PATIENTS)
    alone = examined(file, group="none")
    assert (alone.examination.groups, alone.standing) == (None, Standing.OVERCONFIDENT)


def test_uploads_of_answers_ask_the_same(tmp_path: Path) -> None:
    file = written(tmp_path, "fall", lambda patient, _: f"A{patient:05}")
    names = list(rows("fall", lambda *_: 0)[0])
    with pytest.raises(ColumnsUnclear, match="--group 'fall'"):
        prediction_columns(names, FIELDS, ColumnWishes(), file=file)
    for group, patient in (("fall", "A00001"), ("none", None)):
        found = prediction_columns(names, FIELDS, ColumnWishes(group=group), file=file)
        assert found.item({"p_no": 1, "p_yes": 0, "fall": "A00001"}).get("patient") == patient
