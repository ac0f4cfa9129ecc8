"""Rows that belong together: found by name, asked about where a column only looks like it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.measured import Standing
from calibration.wording import parameter
from candor.predictions.columns import ColumnWishes
from candor.predictions.errors import PredictionsRefused
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


def groups_of(file: Path, **wishes: str) -> int | None:
    """How many groups the rows of a file are in."""
    found = read(file, **wishes).groups
    return None if found is None else len(np.unique(found))


def read(file: Path, **wishes: str | None) -> Any:
    return read_predictions(file, ReadingOptions(wishes=ColumnWishes(**wishes)))


def test_a_column_that_is_called_so_keeps_rows_together(tmp_path: Path) -> None:
    for name in ("mrn", "case", "Slide ID", "accession", "patient", "StudyUID"):
        file = written(tmp_path, name, lambda patient, _: f"{patient:04}")
        assert groups_of(file) == PATIENTS, name


def test_what_all_rows_prove_their_groups_do_not(tmp_path: Path) -> None:
    file = written(tmp_path, "mrn", lambda patient, _: f"{patient:04}")
    for group, standing in ((None, Standing.NOT_SHOWN), ("none", Standing.OVERCONFIDENT)):
        found = read(file, group=group).examined(Examining(title=""))
        assert found.examination.groups == (None if group else PATIENTS)
        assert found.standing is standing


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("fall", lambda patient, _: f"A{patient:05}", {"group": "fall"}),
        (
            "file",
            lambda patient, image: f"p{patient}_{image}.png",
            {"group_pattern": r"(?:^|/)([^/\d]*\d[^/_. -]*)[_. -][^/]*\.\w+$"},
        ),
        (
            "image_path",
            lambda patient, image: f"scans\\pat{patient}\\{image}.png",
            {"group_pattern": r"(?i)(?<![a-z])(pat[_. -]?[a-z]?\d+)"},
        ),
        ("mrn", lambda patient, _: str(patient % 3), {"group": "mrn"}),
    ],
)
def test_what_only_looks_like_it_is_a_question_with_its_answers(
    tmp_path: Path, name: str, value: Any, advice: dict[str, str]
) -> None:
    file = written(tmp_path, name, value)
    with pytest.raises(PredictionsRefused) as asked:
        read(file)
    ((option, answer),) = advice.items()
    assert parameter(option, answer) in str(asked.value)
    assert "--group none" in str(asked.value)
    assert groups_of(file, **advice) == (3 if name == "mrn" else PATIENTS)
    assert groups_of(file, group="none") is None


def test_uploads_of_answers_ask_the_same(tmp_path: Path) -> None:
    file = written(tmp_path, "fall", lambda patient, _: f"A{patient:05}")
    names = list(rows("fall", lambda *_: 0)[0])
    with pytest.raises(PredictionsRefused, match="--group fall"):
        prediction_columns(names, FIELDS, ColumnWishes(), file=file)
    for group, patient in (("fall", "A00001"), ("none", None)):
        found = prediction_columns(names, FIELDS, ColumnWishes(group=group), file=file)
        assert found.item({"p_no": 1, "p_yes": 0, "fall": "A00001"}).get("patient") == patient
