"""Files of every kind, splits, confidences and groups of rows; what is never opened."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from calibration.measured import Standing
from calibration.wording import parameter
from candor.predictions.columns import ColumnWishes
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import Examining, LabeledPredictions, ReadingOptions
from candor.predictions.reading import read_predictions
from candor.predictions.table import count_rows, read_columns, read_rows
from candor.predictions.upload_columns import prediction_columns
from monitoring.logged.body import FIELDS
from tests.builders.answers import simulated

NAMES = ("normal", "pneumonia")
P, Y = simulated(0, rows=60)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a CSV with a header and rows; returns its path."""

    def written(header: str, rows: Sequence[Sequence[Any]], name: str = "predictions.csv") -> Path:
        with (tmp_path / name).open("w", newline="") as stream:
            csv.writer(stream).writerows([header.split(","), *rows])
        return tmp_path / name

    return written


def table(p: npt.NDArray[Any] = P, labels: Sequence[Any] | None = None) -> list[list[Any]]:
    truths = [NAMES[y] for y in Y] if labels is None else labels
    return [[*row, truth] for row, truth in zip(p.tolist(), truths, strict=True)]


def same(read: LabeledPredictions, p: npt.NDArray[Any] = P, *, within: float = 1e-12) -> None:
    assert read.probabilities is not None
    assert read.labels is not None
    assert np.abs(read.probabilities - p).max() < within
    assert (read.labels == Y).all()


def refused(file: Path, said: str, **options: Any) -> None:
    with pytest.raises(PredictionsRefused, match=said):
        read_predictions(file, ReadingOptions(**options))


def test_every_kind_of_file_gives_the_same(write: Write, tmp_path: Path) -> None:
    same(read_predictions(write("prob_normal,prob_pneumonia,label", table())))
    rows = [
        {"probabilities": dict(zip(NAMES, row, strict=True)), "label": NAMES[y]}
        for row, y in zip(P, Y, strict=True)
    ]
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    same(read_predictions(tmp_path / "a.ndjson"))
    pq.write_table(pa.table({"probabilities": P.tolist(), "label": Y}), tmp_path / "a.parquet")
    same(read_predictions(tmp_path / "a.parquet"))
    np.savez(
        tmp_path / "a.npz", probabilities=P, labels=np.array(NAMES)[Y], classes=np.array(NAMES)
    )
    same(read_predictions(tmp_path / "a.npz"))
    encoded = np.array(NAMES).astype("S")
    np.savez(tmp_path / "a.npz", probabilities=P, labels=encoded[Y], classes=encoded)
    same(read_predictions(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", logits=np.log(P) + 3.0, label=Y)
    read = read_predictions(tmp_path / "b.npz")
    same(read)
    assert read.kind == "logits"
    np.savez(tmp_path / "c.npz", y_pred=P.astype(np.float32), y_true=np.eye(2)[Y])
    wishes = ColumnWishes(scores="y_pred", label="y_true")
    same(read_predictions(tmp_path / "c.npz", ReadingOptions(wishes=wishes)), within=1e-6)


def test_a_confidence_with_a_prediction_or_with_right_and_wrong(write: Write) -> None:
    right = P.argmax(axis=1) == Y
    named = [
        [f"{100 * p.max():.2f}%", NAMES[y], NAMES[p.argmax()]] for p, y in zip(P, Y, strict=True)
    ]
    marked = [[p.max(), "yes" if each else "no"] for p, each in zip(P, right, strict=True)]
    for header, rows in (("confidence,label,predicted", named), ("confidence,correct", marked)):
        read = read_predictions(write(header, rows))
        assert np.abs(read.confidence - P.max(axis=1)).max() < 1e-4
        assert (read.correct == right).all()


SPLITS = ["train"] * 20 + ["val"] * 20 + ["test"] * 20


def test_training_rows_are_not_judged_and_validation_rows_are_fitted_on(write: Write) -> None:
    header = "p_normal,p_pneumonia,label,split"
    rows = [[*row, split] for row, split in zip(table(), SPLITS, strict=True)]
    read = read_predictions(write(header, rows))
    assert read.rows.tolist() == list(range(21, 61))
    assert read.judging.tolist() == [False] * 20 + [True] * 20
    assert "20 rows of the split train left out" in read.left_out[0]
    for split in ("val", "test"):
        one = [[*row[:3], split if row[3] != "train" else "Training"] for row in rows]
        read = read_predictions(write(header, one))
        assert (len(read.rows), read.judging) == (40, None)
    refused(write(header, rows[:20]), "no row has both.*20 rows of the split train")
    refused(write(header, [*rows[:-1], [*rows[-1][:3], ""]]), "row 60 have no split")
    refused(write(header, [*rows[:-1], [*rows[-1][:3], "other"]]), "'other'; expected train")
    folds = [[*row[:3], f"fold {n % 5}"] for n, row in enumerate(rows)]
    assert len(read_predictions(write(header, folds)).rows) == 60
    shared = [[*row, "M7" if n in (21, 41) else f"M{n:03}"] for n, row in enumerate(rows)]
    refused(write(f"{header},patient", shared), "patients that it has seen")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    np.savez(
        tmp_path / "a.npz", probabilities=np.array([Trap()], dtype=object), labels=np.array([0])
    )
    refused(tmp_path / "a.npz", "Python objects, which are not opened")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.slow
def test_a_small_archive_does_not_become_a_large_one(tmp_path: Path) -> None:
    import zipfile

    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("probabilities.npy", "w") as stream,
    ):
        for _ in range(600):
            stream.write(bytes(2**20))
    assert (tmp_path / "a.npz").stat().st_size < 1_000_000
    refused(tmp_path / "a.npz", "holds more than 60,000,000 numbers")


def test_too_many_rows_are_refused_while_they_are_read(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candor.predictions.table.CELLS_LIMIT", 100)
    refused(write("p_normal,p_pneumonia,label", table()), "holds more than 100 numbers")


@pytest.mark.parametrize("name", ["dataset", "Partition", "phase"])
def test_a_split_of_another_name_is_not_judged_in_silence(write: Write, name: str) -> None:
    words = {"train": "Training", "val": "valid", "test": "testing"}
    rows = [[*row, words[split]] for row, split in zip(table(), SPLITS, strict=True)]
    refused(write(f"p_normal,p_pneumonia,label,{name}", rows), f"'{name}'.*rename it to 'split'")
    sites = [[*row[:3], "train station"] for row in rows]
    assert len(read_predictions(write(f"p_normal,p_pneumonia,label,{name}", sites)).rows) == 60


def test_arrays_of_several_splits_are_told_apart(tmp_path: Path) -> None:
    """The predictions.npz of a run."""
    np.savez(
        tmp_path / "a.npz",
        val_logits=np.log(P),
        val_labels=Y,
        test_logits=np.log(P),
        test_labels=1 - Y,
    )
    refused(tmp_path / "a.npz", "--scores")
    wishes = ColumnWishes(scores="val_logits", kind="logits", label="val_labels")
    same(read_predictions(tmp_path / "a.npz", ReadingOptions(wishes=wishes)))


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


PATIENTS, EACH = 60, 20


def of_patients(name: str, value: Any) -> list[dict[str, Any]]:
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
    table = of_patients(name, value)
    with (folder / "predictions.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder / "predictions.csv"


def groups_of(file: Path, **wishes: str) -> int | None:
    """How many groups the rows of a file are in."""
    found = read_as(file, **wishes).groups
    return None if found is None else len(np.unique(found))


def read_as(file: Path, **wishes: str | None) -> Any:
    return read_predictions(file, ReadingOptions(wishes=ColumnWishes(**wishes)))


def test_a_column_that_is_called_so_keeps_rows_together(tmp_path: Path) -> None:
    for name in ("mrn", "case", "Slide ID", "accession", "patient", "StudyUID"):
        file = written(tmp_path, name, lambda patient, _: f"{patient:04}")
        assert groups_of(file) == PATIENTS, name


def test_what_all_rows_prove_their_groups_do_not(tmp_path: Path) -> None:
    file = written(tmp_path, "mrn", lambda patient, _: f"{patient:04}")
    for group, standing in ((None, Standing.NOT_SHOWN), ("none", Standing.OVERCONFIDENT)):
        found = read_as(file, group=group).examined(Examining(title=""))
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
        read_as(file)
    ((option, answer),) = advice.items()
    assert parameter(option, answer) in str(asked.value)
    assert "--group none" in str(asked.value)
    assert groups_of(file, **advice) == (3 if name == "mrn" else PATIENTS)
    assert groups_of(file, group="none") is None


def test_uploads_of_answers_ask_the_same(tmp_path: Path) -> None:
    file = written(tmp_path, "fall", lambda patient, _: f"A{patient:05}")
    names = list(of_patients("fall", lambda *_: 0)[0])
    with pytest.raises(PredictionsRefused, match="--group fall"):
        prediction_columns(names, FIELDS, ColumnWishes(), file=file)
    for group, patient in (("fall", "A00001"), ("none", None)):
        found = prediction_columns(names, FIELDS, ColumnWishes(group=group), file=file)
        assert found.item({"p_no": 1, "p_yes": 0, "fall": "A00001"}).get("patient") == patient
