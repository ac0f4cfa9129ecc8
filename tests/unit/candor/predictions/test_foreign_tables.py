"""Tables as strangers have them: each equals scikit-learn and netcal, or says what to do."""

import json
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

from calibration.measured import measure_probabilities
from candor.predictions.columns import ColumnWishes
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import LabeledPredictions, ReadingOptions
from candor.predictions.reading import read_predictions

with warnings.catch_warnings():  # of what the oracle imports
    warnings.simplefilter("ignore")
    from netcal.metrics import ECE

N = 240
NAMES = ("benign", "malignant", "normal")
Array = npt.NDArray[Any]


def answers(classes: int = 3, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.5), N)
    return p, np.array([rng.choice(classes, p=row) for row in p])


P, Y = answers()
TWO, TRUE = answers(2, 1)
SIX, SIX_TRUE = answers(6, 2)


def text(
    header: Sequence[str], rows: Sequence[Sequence[Any]], *, by: str = ",", comma: bool = False
) -> str:
    def cell(value: Any) -> str:
        shown = f"{value:.9g}" if isinstance(value, float) else str(value)
        return shown.replace(".", ",") if comma and isinstance(value, float) else shown

    return "\n".join(by.join(map(cell, row)) for row in [header, *rows]) + "\n"


def by_name(p: Array = P, names: Sequence[str] = NAMES) -> list[list[Any]]:
    return [[*row, names[y]] for row, y in zip(p.tolist(), Y, strict=True)]


HEADER = [*(f"p_{name}" for name in NAMES), "label"]
PLAIN = text(HEADER, by_name())
LOGITS = np.log(P) + 1.0
PERCENT = (100 * P).tolist()
MANY = np.random.default_rng(3).dirichlet(np.full(1500, 0.01), 60)
MANY_TRUE = np.random.default_rng(4).integers(0, 1500, 60)
GAPS = [
    ["#N/A", *row[1:]] if i == 3 else [*row[:3], "NULL"] if i == 5 else row
    for i, row in enumerate(by_name())
]
OF_PATIENTS = [[f"M{i // 4:04}", *row] for i, row in enumerate(by_name())]
OF_CODES = [[f"K{i // 6:05}", *row] for i, row in enumerate(by_name())]
SINGLE = [[float(p), int(y)] for p, y in zip(TWO[:, 1], TRUE, strict=True)]

PIPELINE = [[{"label": NAMES[k], "score": row[k]} for k in np.argsort(-row)] for row in P]


def asked(**wishes: Any) -> dict[str, Any]:
    """The options that a stranger adds."""
    return {"wishes": ColumnWishes(**wishes)}


READ: dict[str, tuple[str, str | bytes, dict[str, Any], Array, Array]] = {
    "semicolons and decimal commas": (
        "a.csv", text(HEADER, by_name(), by=";", comma=True), {}, P, Y),
    "tabs in a .tsv": ("a.tsv", text(HEADER, by_name(), by="\t"), {}, P, Y),
    "bars": ("a.txt", text(HEADER, by_name(), by="|"), {}, P, Y),
    "byte order mark and CRLF": (
        "a.csv", b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(), {}, P, Y),
    "Unicode text of a spreadsheet": (
        "a.txt", text(HEADER, by_name(), by="\t", comma=True).encode("utf-16"), {}, P, Y),
    "accents that a Mac decomposes": (
        "a.csv", text(["p_Polyp", "p_Fibröse", "p_Rezidiv", "label"],
                      by_name(names=["Polyp", unicodedata.normalize("NFD", "Fibröse"), "Rezidiv"])),
        {}, P, Y),
    "sep= of Excel": ("a.csv", "sep=;\n" + text(HEADER, by_name(), by=";", comma=True), {}, P, Y),
    "comments above the names and below the rows": (
        "a.csv", "# model A, 2026\n# seed=3, fold 2\n\n" + PLAIN + "# 240 rows\n", {}, P, Y),
    "names in NumPy's comment": ("a.csv", "# " + PLAIN, {}, P, Y),
    "row names of R, which have no column name": (
        "a.csv", "".join(f"{i}," * (i > 0) + line + "\n"
                         for i, line in enumerate(PLAIN.splitlines())), {}, P, Y),
    "UTF-16 without its mark, sep= and tabs": (
        "a.csv", ("sep=\t\n" + text(HEADER, by_name(), by="\t")).encode("utf-16-le"), {}, P, Y),
    "spaces and invisible marks around names": (
        "a.csv", PLAIN.replace("p_benign,", " p_benign ,\u200b", 1), {}, P, Y),
    "caret's obs": ("a.csv", text([*NAMES, "obs"], by_name()), asked(label="obs"), P, Y),
    "P(y=A|x)": ("a.csv", text([*(f"P(y={n}|x)" for n in NAMES), "y"], by_name()),
                 asked(label="y", scores="P(y=*|x)"), P, Y),
    "KNIME": (
        "a.csv", text([*(f"P (finding={n})" for n in NAMES), "finding", "Prediction (finding)"],
                      [[*row, row[0]] for row in by_name()]),
        asked(label="finding", scores="P (finding=*)"), P, Y),
    "RapidMiner": (
        "a.csv", text(["row no.", *(f"confidence({n})" for n in NAMES), "label"],
                      [[i, *row] for i, row in enumerate(by_name())]),
        asked(scores="confidence(*)"), P, Y),
    "logarithms": ("a.csv", text([*(f"log_proba_{n}" for n in NAMES), "label"],
                                 by_name(np.log(P))),
                   asked(scores="log_proba_*", kind="logits"), P, Y),
    "grades in the names": (
        "a.csv", text([*(f"BI-RADS {k}" for k in (2, 3, 4)), "truth"], by_name(names="234")),
        asked(label="truth", scores="BI-RADS *"), P, Y),
    "class_1 to class_3 and numbers": (
        "a.csv", text([*(f"class_{k + 1}" for k in range(3)), "label"],
                      [[*row, int(y) + 1] for row, y in zip(P.tolist(), Y, strict=True)]),
        asked(scores="class_*"), P, Y),
    "empty columns and rows of Excel": (
        "a.csv", PLAIN.replace("\n", ",,\n") + ",,,,,\n" * 3, {}, P, Y),
    "PyCaret": (
        "a.csv", text(["finding", "prediction_label", *(f"prediction_score_{n}" for n in NAMES)],
                      [[row[3], row[3], *row[:3]] for row in by_name()]),
        asked(label="finding", scores="prediction_score_*"), P, Y),
    "AutoGluon": (
        "a.csv", text([*NAMES, "diagnosis_pred", "diagnosis"],
                      [[*row, row[3]] for row in by_name()]), asked(label="diagnosis"), P, Y),
    "columns in another order than the names": (
        "a.csv",
        text(["label", *(f"p_{NAMES[k]}" for k in (2, 0, 1))],
             [[NAMES[y], row[2], row[0], row[1]] for row, y in zip(P.tolist(), Y, strict=True)]),
        {}, P[:, [2, 0, 1]], np.array([1, 2, 0])[Y]),
    "names in another case": (
        "a.csv", text(HEADER, by_name(names=[n.upper() for n in NAMES])),
        {"classes": ("BENIGN", "MALIGNANT", "NORMAL")}, P, Y),
    "percent with a sign": (
        "a.csv",
        text(HEADER, [[*(f"{v:.9g} %" for v in row), NAMES[y]]
                      for row, y in zip(PERCENT, Y, strict=True)]), {}, P, Y),
    "percent as numbers": (
        "a.csv", text(HEADER, [[*row, NAMES[y]] for row, y in zip(PERCENT, Y, strict=True)]),
        asked(kind="percent"), P, Y),
    "exponents with commas": (
        "a.csv", text(["prob", "label"], [[f"{p:.9e}".replace(".", ","), y] for p, y in SINGLE],
                      by=";"), {}, TWO, TRUE),
    "1,500 classes": (
        "a.csv", text([*(f"p_c{k}" for k in range(1500)), "label"],
                      [[*row, f"c{y}"] for row, y in zip(MANY.tolist(), MANY_TRUE, strict=True)]),
        {}, MANY, MANY_TRUE),
    "missing cells": (
        "a.csv", text(HEADER, GAPS),
        {}, np.delete(P, [3, 5], axis=0), np.delete(Y, [3, 5])),
    "rounded rows": ("a.csv", text(HEADER, by_name(P.round(3))), {}, P.round(3), Y),
    "copies of rows": (
        "a.csv", text(["file", *HEADER], [[f"{i}.png", *row] for i, row in enumerate(by_name())]
                      + [[f"{i}.png", *row] for i, row in enumerate(by_name()[:20])]),
        {}, np.concatenate([P, P[:20]]), np.concatenate([Y, Y[:20]])),
    "a patient column": (
        "a.csv", text(["MRN", *HEADER], OF_PATIENTS),
        {}, P, Y),
    "logits by name": (
        "a.csv", text([*(f"logit_{n}" for n in NAMES), "label"], by_name(LOGITS)), {}, P, Y),
    "scores that are said to be logits": (
        "a.csv", text([*(f"score_{n}" for n in NAMES), "label"], by_name(LOGITS + 40)),
        asked(scores="score_*", kind="logits"), P, Y),
    "rows that are normalized": (
        "a.csv", text(HEADER, by_name(P / 2)), {"normalize": True}, P, Y),
    **{
        f"one column, labels as {first} and {second}": (
            "a.csv", text([column, "label"],
                          [[p, (first, second)[y]] for p, y in SINGLE]), more, TWO, TRUE)
        for column, first, second, more in (
            ("prob", 0, 1, {}),
            ("p_ill", "well", "ill", {}),
            ("prob", False, True, {}),
            ("prob", "negative", "positive", {}),
            ("prob", 0.0, 1.0, {}),
            ("prob", "left", "right", {"positive": "right"}),
        )
    },
    "one column and its own label": ("a.csv", text(["p_ill", "ill"], SINGLE), {}, TWO, TRUE),
    "one column of the first class": (
        "a.csv", text(["prob_normal", "ill"], [[1 - p, y] for p, y in SINGLE]),
        {"positive": "0", **asked(label="ill")}, TWO[:, ::-1], 1 - TRUE),
    "a label column for each class": (
        "a.csv", text([*HEADER[:3], *(f"label_{n}" for n in NAMES)],
                      [[*p, *np.eye(3, dtype=int)[y]] for p, y in zip(P.tolist(), Y, strict=True)]),
        {}, P, Y),
    "numbers of classes in the order of the option": (
        "a.csv", text(["p_malignant", "p_benign", "p_normal", "label"],
                      [[b, a, c, y] for (a, b, c), y in zip(P.tolist(), Y, strict=True)]),
        {"classes": NAMES}, P[:, [1, 0, 2]], np.array([1, 0, 2])[Y]),
    "numbers from 1 in the order of the option": (
        "a.csv", text(["prob_0", "prob_1", "label"],
                      [[*p, y + 1] for p, y in zip(TWO.tolist(), TRUE, strict=True)]),
        {"classes": ("1", "2")}, TWO, TRUE),
    "a class called none": (
        "a.csv", text(["p_none", "p_severe", "label"],
                      [[1 - p, p, ("none", "severe")[y]] for p, y in SINGLE]), {}, TWO, TRUE),
    "rounded to two decimals, six classes": (
        "a.csv", text([*(f"p_{k}" for k in range(6)), "label"],
                      [[*row, y] for row, y in zip(SIX.round(2).tolist(), SIX_TRUE, strict=True)]),
        {}, SIX.round(2) / SIX.round(2).sum(axis=1, keepdims=True), SIX_TRUE),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_foreign_table_has_the_figures_of_other_code(tmp_path: Path, name: str) -> None:
    file, content, options, p, y = READ[name]
    (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    read = read_predictions(tmp_path / file, ReadingOptions(**options))
    assert isinstance(read, LabeledPredictions)
    assert read.probabilities is not None
    assert read.labels is not None
    assert np.abs(read.probabilities - p).max() < 1e-6
    assert (read.labels == y).all()
    found = measure_probabilities(read.probabilities, read.labels, read.groups).measures
    classes = range(p.shape[1])
    assert found.accuracy == pytest.approx(accuracy_score(y, p.argmax(axis=1)))
    right = (p.argmax(axis=1) == y).astype(int)
    on_edges = 5e-3 if name.startswith("rounded") else 1e-6  # netcal closes bins otherwise
    assert found.ece == pytest.approx(ECE(15).measure(p.max(axis=1), right), abs=on_edges)
    if not found.nll_zeros and not name.startswith("rounded"):
        assert found.nll == pytest.approx(log_loss(y, p, labels=classes), rel=1e-5)
    if p.shape[1] == 2:
        assert found.auroc == pytest.approx(roc_auc_score(y, p[:, 1]))
        assert found.brier == pytest.approx(2 * brier_score_loss(y, p[:, 1]), rel=1e-5)


REFUSED: dict[str, tuple[Any, ...]] = {
    "percent as numbers": (
        "a.csv", text(HEADER, [[*row, NAMES[y]] for row, y in zip(PERCENT, Y, strict=True)]),
        "--percent"),
    "thousands": (
        "a.csv", text([*(f"logit_{n}" for n in NAMES), "label"],
                      [[*(f"{5000 + v:,.9f}".replace(",", "'") for v in row), NAMES[y]]
                       for row, y in zip(LOGITS.tolist(), Y, strict=True)]), "is no number"),
    "a pipeline of Transformers": (
        "a.ndjson", "\n".join(json.dumps({"predictions": PIPELINE[i], "label": NAMES[y]})
                              for i, y in enumerate(Y)), "--scores"),
    "dictionaries as Python prints them": (
        "a.csv", text(["probabilities", "label"],
                      [[f'"{dict(zip(NAMES, p, strict=True))}"', NAMES[y]]
                       for p, y in zip(P.tolist(), Y, strict=True)]), "no list of scores in JSON"),
    "lists in lists": (
        "a.ndjson", "".join(f'{{"probabilities": [{row}], "label": {y}}}\n'
                            for row, y in zip(P.tolist(), Y, strict=True)), "is no number"),
    "scores of nobody's contract": (
        "a.csv", text([*(f"score_{n}" for n in NAMES), "label"], by_name()), "--scores 'score_"),
    "classes that labels spell otherwise": (
        "a.csv", text(HEADER, by_name(names=[n.upper() for n in NAMES])), "--classes"),
    "numbers of named columns": (
        "a.csv", text(HEADER, [[*row, y] for row, y in zip(P.tolist(), Y, strict=True)]),
        "which number is which class"),
    "swapped columns": (
        "a.csv", text(["p_no", "p_yes", "label"],
                      [[b, a, "yes" if y else "no"]
                       for (a, b), y in zip(TWO.tolist(), TRUE, strict=True)]),
        "do not belong together"),
    "a single column of the other class": (
        "a.csv", text(["prob_normal", "ill"], [[1 - p, y] for p, y in SINGLE]), "--label"),
    "a single column of an unnamed class": (
        "a.csv", text(["prob_normal", "label"], [[1 - p, y] for p, y in SINGLE]), "--positive 1"),
    "Latin-1": ("a.csv", PLAIN.replace("benign", "gutärtig").encode("latin-1"), "CSV UTF-8"),
    "halves of probabilities": ("a.csv", text(HEADER, by_name(P / 2)), "--normalize.*--findings"),
    "Parquet called CSV": ("a.csv", b"PAR1" + bytes(64), "is Parquet"),
    "UTF-32": ("a.csv", PLAIN.encode("utf-32"), "CSV UTF-8"),
    "a title": ("a.csv", "Results of model A\n" + PLAIN, "Delete what stands above"),
    "decimal commas among commas": (
        "a.csv", text(HEADER, by_name(), comma=True), "7 cells in line 2, and 4"),
    "probabilities before and after": (
        "a.csv", text([*(f"prob_{n}" for n in NAMES), *HEADER],
                      [[*row[:3], *row] for row in by_name()]), "--scores"),
    "two models": (
        "a.csv", text([*(f"{m}_{n}" for m in ("resnet", "vit") for n in NAMES), "label"],
                      [[*row[:3], *row] for row in by_name()]), "--scores"),
    "the likeliest classes": (
        "a.csv", text([f"top{k}_score" for k in (1, 2, 3)] + ["label"],
                      [[*sorted(row, reverse=True), y] for row, y in zip(P, Y, strict=True)]),
        "--scores"),
    "labels of 1 and 2 for one column": (
        "a.csv", text(["prob", "label"], [[p, y + 1] for p, y in SINGLE]), "--positive"),
    "a class called as missing labels": (
        "a.csv", text(["p_NA", "p_a", "p_b", "label"], by_name(names=["NA", "a", "b"])),
        "called 'NA'"),
    "labels of 1 and -1 for numbered columns": (
        "a.csv", text(["p_0", "p_1", "label"],
                      [[*p, 2 * int(y) - 1] for p, y in zip(TWO.tolist(), TRUE, strict=True)]),
        "label '-1'"),
    "words among numbers": ("a.csv", PLAIN.replace("\n0.", "\nhigh0.", 3), "is no number"),
    "units below the names": ("a.csv", PLAIN.replace("\n", "\n[0..1],[0..1],[0..1],class\n", 1),
                              "row 1, .*delete the row"),
    "names over names": ("a.csv", "scores,scores,scores,truth\n" + PLAIN, "the row of names"),
    "a formula that failed": ("a.csv", PLAIN.replace("\n0.", "\n#DIV/0!0.", 1), "row 1, column"),
    "Weka": (
        "a.csv", text(["inst#", "actual", "predicted", "prediction"],
                      [[i, f"{y}:a", f"{y}:a", 0.9] for i, y in enumerate(Y)]), "--scores"),
    "SAS": (
        "a.csv", text(["F_TARGET", "I_TARGET", "P_TARGET0", "P_TARGET1"],
                      [[y, y, *p] for p, y in zip(TWO.tolist(), TRUE, strict=True)]), "--label"),
    "two labels": (
        "a.csv", text([*HEADER[:3], "truth", "target"], [[*row, "x"] for row in by_name()]),
        "--label"),
    "a slip in a name": (
        "a.csv", PLAIN.replace(",benign\n", ",bening\n", 1), "label 'bening' .row "),
    "lists of findings": (
        "a.csv", text(HEADER, [[*row[:3], "benign|malignant"] for row in by_name()]), "--findings"),
    "one negative probability": (
        "a.csv", text(HEADER, [*by_name()[1:], [-0.1, 0.6, 0.5, "benign"]]), "negative: row 240"),
    "one negative probability of two": (
        "a.csv", text(["prob", "label"], [*SINGLE[1:], [-0.1, 1]]), "negative: row 240"),
    "a confidence that is the probability of one class": (
        "a.csv", text(["predicted", "confidence", "label"],
                      [["yes" if p > 0.5 else "no", p, "yes" if y else "no"] for p, y in SINGLE]),
        "--scores confidence --positive yes"),
    "findings of 1 and -1": (
        "a.csv", text(["p_Edema", "p_Mass", "Edema", "Mass"],
                      [[p, p / 2, 2 * y - 1, 2 * (i % 2) - 1] for i, (p, y) in enumerate(SINGLE)]),
        "write 0"),
    "an identifier that repeats": (
        "a.csv", text(["code", *HEADER], OF_CODES),
        "--group code"),
    "caret's, of repeated cross-validation": (
        "a.csv",
        text([*NAMES, "obs", "rowIndex", "Resample"], [
            [*row, number % (N // 3) + 1, f"Fold1.Rep{number % 3 + 1}"]
            for number, row in enumerate(by_name())
        ]),
        "--group rowIndex"),
    "logits called probabilities": (
        "a.csv", text(HEADER, by_name(np.log(P))), "cannot be negative.*--logits"),
    "two rows that do not add up": (
        "a.csv", text(HEADER, by_name(np.where(np.arange(N)[:, None] % 200 == 4, P / 2, P))),
        "2 of 240 rows do not add up to 1: rows 5, 205"),
    "one column for left and right": (
        "a.csv", text(["prob", "label"], [[p, ("left", "right")[y]] for p, y in SINGLE]),
        "probability of 'left' or of 'right'?.*--positive right"),
    "one column and a positive class that no label is": (
        "a.csv", text(["prob", "label"], SINGLE), "no label is called that", {"positive": "up"}),
    "one column for three classes": (
        "a.csv", text(["prob", "label"], [[p, "abc"[i % 3]] for i, (p, _) in enumerate(SINGLE)]),
        "one column of probabilities needs labels of two classes; found 3"),
    "which class the column of the other label is": (
        "a.csv", text(["prob_normal", "ill"], SINGLE),
        "is prob_normal the probability of '0' or of '1'.*--positive", asked(label="ill")),
    "a confidence without a prediction": (
        "a.csv", "confidence,label\n0.9,a\n", "needs a column with the predicted class"),
    "predictions that are no labels": (
        "a.csv", "confidence,label,predicted\n0.9,A,a\n", "write both with the same names"),
    "an answer that is maybe right": (
        "a.csv", "confidence,correct\n0.9,maybe\n", "row 1, .*'maybe' does not say"),
    "two labels in a row": (
        "a.csv", "p_a,p_b,label_a,label_b\n0.5,0.5,1,0\n0.5,0.5,1,1\n",
        "single 1 in each row; row 2"),
    "classes that no column is called by": (
        "a.csv", PLAIN, "Columns keep their names", {"classes": ("malignant", "other", "normal")}),
    "numbers from 1": (
        "a.csv", text(["prob_0", "prob_1", "label"], [[p, 1 - p, y + 1] for p, y in SINGLE]),
        "no column is about the label '2'"),
    "two of three columns that are swapped": (
        "a.csv", text(HEADER, by_name(P[:, [1, 0, 2]])), "do not belong together"),
    "no label at all": (
        "a.csv", "p_a,p_b,label\n0.5,0.5,\n", "no row has both a label and its probabilities"),
    "a row without a patient": (
        "a.csv", text(["MRN", *HEADER], [["", *OF_PATIENTS[0][1:]], *OF_PATIENTS[1:]]),
        "row 1 name no group"),
    "bytes that are no text": (
        "a.csv", b"p_a,p_b,label\n0.5,0.5,na\xefve\n",
        "not UTF-8 text .byte 0xef.: save it as CSV UTF-8"),
    "a column twice": ("a.csv", b"p_a,p_a,label\n1,2,3\n", "two columns 'p_a'"),
    "nothing": ("a.csv", b"", "no rows"),
    "a header alone": ("a.csv", b"p_a,p_b,label\n", "no rows"),
    "UTF-16 that ends early": ("a.csv", b"\xff\xfep\x00_\x00a\x00", "no rows"),
    "a zero byte": (
        "a.csv", b"p_a,p_b,label\n0.5,0.5,a\x00b\n0.5,0.5,p\n", "no column is about"),
    "a quote that does not end": (
        "a.csv", b'p_a,p_b,label\n0.5,0.5,"' + b"x" * 200_000, "field larger"),
    "no scores": ("a.csv", b"age,label\n3,a\n", "which columns hold the scores"),
    "no labels": ("a.csv", b"p_a,p_b\n0.5,0.5\n", "which column holds the true class"),
    "no archive": ("a.npz", b"no archive", "no NumPy archive"),
    "half an archive": ("a.npz", b"PK\x03\x04 cut", "no NumPy archive"),
    "no Parquet": ("a.parquet", b"PAR1 no", "cannot be read as Parquet"),
    "half of JSON": ("a.ndjson", b'{"p_a": 0.5\n', "line 1 is not JSON"),
    "a list of JSON": ("a.ndjson", b"[1]\n", "line 1"),
    "a key twice": ("a.ndjson", b'{"label": "a", "label": "b"}\n', "'label' is given twice"),
    "a workbook": ("a.xlsx", b"", "expected a name that ends in"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_that_leaves_something_open_says_what_to_do(tmp_path: Path, name: str) -> None:
    file, content, said, *options = REFUSED[name]
    (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(PredictionsRefused, match=said):
        read_predictions(tmp_path / file, *(ReadingOptions(**each) for each in options))


@pytest.mark.parametrize("header", ["file", "id"])
def test_copies_are_said(tmp_path: Path, header: str) -> None:
    content = str(READ["copies of rows"][1])
    assert content.startswith("file")
    (tmp_path / "a.csv").write_text(content.replace("file", header, 1))
    read = read_predictions(tmp_path / "a.csv")
    assert any("20 rows with the file or id of an earlier row" in note for note in read.notes)
