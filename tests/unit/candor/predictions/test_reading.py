"""Files as people have them: what is read, what is said, and what is refused."""

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
from scipy.special import log_softmax

from candor.predictions.columns import ColumnWishes
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import LabeledPredictions, ReadingOptions
from candor.predictions.reading import read_predictions
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
    np.savez(tmp_path / "b.npz", logits=np.log(P) + 3.0, label=Y)
    read = read_predictions(tmp_path / "b.npz")
    same(read)
    assert read.kind == "logits"
    np.savez(tmp_path / "c.npz", y_pred=P.astype(np.float32), y_true=np.eye(2)[Y])
    wishes = ColumnWishes(scores="y_pred", label="y_true")
    same(read_predictions(tmp_path / "c.npz", ReadingOptions(wishes=wishes)), within=1e-6)


def test_logits_are_recognized_by_name_or_told(write: Write) -> None:
    z = log_softmax(np.log(P), axis=1) + 0.5
    same(read_predictions(write("logit_normal,logit_pneumonia,label", table(z))))
    refused(write("p_normal,p_pneumonia,label", table(z)), "cannot be negative.*--logits")
    positive = write("score_normal,score_pneumonia,label", table(z + 40))
    refused(positive, "--logits", wishes=ColumnWishes(scores="score_*"))
    wishes = ColumnWishes(scores="score_*", kind="logits")
    same(read_predictions(positive, ReadingOptions(wishes=wishes)))


def test_rows_that_do_not_add_up_are_refused_by_number_or_normalized(write: Write) -> None:
    p = P.copy()
    p[[4, 9]] *= 1.5
    file = write("p_normal,p_pneumonia,label", table(np.minimum(p, 1)))
    refused(file, "2 of 60 rows do not add up to 1: rows 5, 10; row 5 adds up to")
    read = read_predictions(file, ReadingOptions(normalize=True))
    assert np.allclose(read.probabilities.sum(axis=1), 1)
    assert "2 of 60 did not add up to 1" in read.notes[0]


@pytest.mark.parametrize(
    ("header", "labels", "positive"),
    [
        ("prob,label", [int(y) for y in Y], "1"),
        ("p_pneumonia,label", [NAMES[y] for y in Y], "pneumonia"),
        ("prob,label", [bool(y) for y in Y], "True"),
        ("prob,label", [("negative", "positive")[y] for y in Y], "positive"),
        ("p_ill,ill", [int(y) for y in Y], "1"),
        ("prob,label", [float(y) for y in Y], "1"),
    ],
)
def test_one_column_of_two_classes(
    write: Write, header: str, labels: list[Any], positive: str
) -> None:
    read = read_predictions(
        write(header, [[p, truth] for p, truth in zip(P[:, 1], labels, strict=True)])
    )
    same(read)
    assert read.classes[1] == positive
    assert f"probability of '{positive}'" in read.notes[0]


def test_one_column_of_unknown_meaning_is_refused_until_told(write: Write) -> None:
    file = write("prob,label", [[p, ("left", "right")[y]] for p, y in zip(P[:, 1], Y, strict=True)])
    refused(file, "probability of 'left' or of 'right'?.*--positive right")
    same(read_predictions(file, ReadingOptions(positive="right")))
    refused(file, "no label is called that", positive="up")
    three = write("prob,label", [[p, ("a", "b", "c")[i % 3]] for i, p in enumerate(P[:, 1])])
    refused(three, "one column of probabilities needs labels of two classes; found 3")


def test_the_probability_of_another_class_is_not_taken_for_that_of_1(write: Write) -> None:
    rows = [[p, int(y)] for p, y in zip(P[:, 0], Y, strict=True)]
    file = write("prob_normal,ill", rows)
    of_label = ColumnWishes(label="ill")
    refused(file, "is prob_normal the probability of '0' or of '1'.*--positive", wishes=of_label)
    read = read_predictions(file, ReadingOptions(wishes=of_label, positive="0"))
    assert read.classes == ("1", "0")
    assert read.probabilities is not None
    assert np.abs(read.probabilities[:, 0] - P[:, 1]).max() < 1e-12


def test_a_confidence_with_label_and_prediction(write: Write) -> None:
    rows = [
        [f"{100 * p.max():.2f}%", NAMES[y], NAMES[p.argmax()]] for p, y in zip(P, Y, strict=True)
    ]
    read = read_predictions(write("confidence,label,predicted", rows))
    assert read.confidence is not None
    assert read.correct is not None
    assert np.abs(read.confidence - P.max(axis=1)).max() < 1e-4
    assert (read.correct == (P.argmax(axis=1) == Y)).all()
    refused(
        write("confidence,label", [row[:2] for row in rows]),
        "needs a column with the predicted class",
    )
    other = [[row[0], row[1].upper(), row[2]] for row in rows]
    refused(write("confidence,label,predicted", other), "write both with the same names")


def test_a_confidence_with_right_and_wrong(write: Write) -> None:
    rows = [[p.max(), "yes" if p.argmax() == y else "no"] for p, y in zip(P, Y, strict=True)]
    read = read_predictions(write("confidence,correct", rows))
    assert read.correct is not None
    assert (read.correct == (P.argmax(axis=1) == Y)).all()
    refused(
        write("confidence,correct", [[0.9, "maybe"]]),
        "row 1, column 'correct': 'maybe' does not say",
    )


def test_one_hot_labels(write: Write) -> None:
    rows = [[*p, *np.eye(2)[y].astype(int)] for p, y in zip(P, Y, strict=True)]
    same(read_predictions(write("p_normal,p_pneumonia,label_normal,label_pneumonia", rows)))
    rows[6][2:] = [1, 1]
    refused(
        write("p_normal,p_pneumonia,label_normal,label_pneumonia", rows),
        "single 1 in each row; row 7",
    )


def test_labels_as_numbers_of_named_columns(write: Write) -> None:
    file = write("p_normal,p_pneumonia,label", table(labels=[int(y) for y in Y]))
    refused(file, "which number is which class")
    read = read_predictions(file, ReadingOptions(classes=NAMES))
    same(read)
    assert read.notes == (
        "Labels are numbers, in the order of --classes: 0 is normal, 1 is pneumonia.",
    )
    swapped = [[b, a, int(y)] for (a, b), y in zip(P, Y, strict=True)]
    told = read_predictions(
        write("p_pneumonia,p_normal,label", swapped), ReadingOptions(classes=NAMES)
    )
    assert told.classes == NAMES[::-1]
    assert told.labels is not None
    assert (told.labels == 1 - Y).all()


def test_columns_keep_their_names(write: Write) -> None:
    """Classes in another order than the columns rename nothing."""
    rows = [[b, a, NAMES[y]] for (a, b), y in zip(P, Y, strict=True)]
    file = write("p_pneumonia,p_normal,label", rows)
    plain, told = (read_predictions(file, ReadingOptions(classes=each)) for each in (None, NAMES))
    assert plain.classes == told.classes == NAMES[::-1]
    assert (plain.labels == told.labels).all()
    refused(file, "Columns keep their names", classes=("pneumonia", "other"))


def test_labels_of_other_names_are_refused_by_row(write: Write) -> None:
    labels = [NAMES[y] for y in Y]
    labels[3] = "covid"
    refused(
        write("p_normal,p_pneumonia,label", table(labels=labels)),
        r"label 'covid' \(row 4\).*--classes",
    )
    one_based = write("prob_0,prob_1,label", table(labels=[int(y) + 1 for y in Y]))
    refused(one_based, "no column is about the label '2'")
    same(read_predictions(one_based, ReadingOptions(classes=("1", "2"))))


def test_what_is_far_below_chance_is_refused(write: Write) -> None:
    p, y = simulated(5, rows=300, temperature=0.5)
    rows = [[b, a, NAMES[k]] for (a, b), k in zip(p, y, strict=True)]
    refused(write("p_normal,p_pneumonia,label", rows), "AUROC 0.*do not belong together")
    three, y = simulated(0, rows=400, classes=3)
    names = ("a", "b", "c")
    rows = [[b, a, c, names[k]] for (a, b, c), k in zip(three, y, strict=True)]  # two of three
    refused(write("p_a,p_b,p_c,label", rows), "do not belong together")


def test_rounded_rows_add_up_as_far_as_rounding_lets_them(write: Write) -> None:
    many, y = simulated(0, rows=400, classes=6)
    rounded = many.round(2)
    assert np.abs(rounded.sum(axis=1) - 1).max() > 0.011
    rows = [[*row, k] for row, k in zip(rounded.tolist(), y, strict=True)]
    read = read_predictions(write(",".join([*(f"p_{k}" for k in range(6)), "label"]), rows))
    assert np.allclose(read.probabilities.sum(axis=1), 1)
    assert "0.01 as last decimal" in read.notes[0]


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


def test_what_is_missing_is_left_out_and_said(write: Write) -> None:
    rows = table()
    rows[1][2], rows[2][2], rows[5][0], rows[7][1] = "", "n/a", "", "nan"
    read = read_predictions(write("p_normal,p_pneumonia,label", rows))
    assert len(read.rows) == 56
    assert read.rows[:4].tolist() == [1, 4, 5, 7]
    assert read.left_out == (
        "2 rows without a label left out: rows 2, 3.",
        "2 rows with a missing value left out: rows 6, 8.",
    )
    refused(
        write("p_normal,p_pneumonia,label", [[0.5, 0.5, ""]]),
        "no row has both a label and its probabilities",
    )


def test_a_class_may_be_called_none(write: Write) -> None:
    rows = [[*p, ("none", "severe")[y]] for p, y in zip(P, Y, strict=True)]
    same(read_predictions(write("p_none,p_severe,label", rows)))


def test_groups(write: Write) -> None:
    rows = [[*row, f"patient {i // 2}"] for i, row in enumerate(table())]
    read = read_predictions(write("p_normal,p_pneumonia,label,patient_id", rows))
    assert len(set(read.groups.tolist())) == 30
    rows[4][-1] = ""
    refused(write("p_normal,p_pneumonia,label,patient_id", rows), "row 5 name no group")


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        (
            "a.csv",
            b"p_a,p_b,label\n0.5,0.5,na\xefve\n",
            PredictionsRefused,
            "not UTF-8 text .byte 0xef.: save it as CSV UTF-8",
        ),
        ("a.csv", b"p_a,p_a,label\n1,2,3\n", PredictionsRefused, "two columns 'p_a'"),
        ("a.csv", b"", PredictionsRefused, "no rows"),
        ("a.csv", b"p_a,p_b,label\n", PredictionsRefused, "no rows"),
        ("a.csv", b"\xff\xfep\x00_\x00a\x00", PredictionsRefused, "no rows"),  # UTF-16
        (
            "a.csv",
            b"p_a,p_b,label\n0.5,0.5,a\x00b\n0.5,0.5,p\n",
            PredictionsRefused,
            "no column is about",
        ),
        ("a.csv", b'p_a,p_b,label\n0.5,0.5,"' + b"x" * 200_000, PredictionsRefused, "field larger"),
        ("a.csv", b"age,label\n3,a\n", PredictionsRefused, "which columns hold the scores"),
        ("a.csv", b"p_a,p_b\n0.5,0.5\n", PredictionsRefused, "which column holds the true class"),
        ("a.npz", b"no archive", PredictionsRefused, "no NumPy archive"),
        ("a.npz", b"PK\x03\x04 cut", PredictionsRefused, "no NumPy archive"),
        ("a.parquet", b"PAR1 no", PredictionsRefused, "cannot be read as Parquet"),
        ("a.ndjson", b'{"p_a": 0.5\n', PredictionsRefused, "line 1 is not JSON"),
        ("a.ndjson", b"[1]\n", PredictionsRefused, "line 1"),
        (
            "a.ndjson",
            b'{"label": "a", "label": "b"}\n',
            PredictionsRefused,
            "'label' is given twice",
        ),
        ("a.xlsx", b"", PredictionsRefused, "expected a name that ends in"),
    ],
)
def test_hostile_files_give_sentences(
    tmp_path: Path, name: str, content: bytes, error: type[Exception], said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=said):
        read_predictions(tmp_path / name)


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
