"""Findings in tables and arrays: each measured as by other code, never a class of a combination."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import candor
from calibration.calibrators.portable import PortableCalibrator
from calibration.measured import Standing
from candor.predictions.columns import ColumnWishes
from candor.predictions.errors import PredictionsRefused
from candor.predictions.labeled import (
    Examining,
    LabeledFindings,
    LabeledPredictions,
    ReadingOptions,
)
from candor.predictions.reading import read_predictions

NAMES = ("Edema", "Mass", "Nodule")
N = 900


def findings(seed: int, *, temperature: float = 1.0) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Probabilities (N, 3) that are too sure by `temperature`, and labels (N, 3)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.2, (N, 3)) + np.array([-0.5, -1.5, -5.0])
    truth = 1 / (1 + np.exp(-z))
    return 1 / (1 + np.exp(-temperature * z)), (rng.random((N, 3)) < truth).astype(float)


P, Y = findings(0, temperature=2.5)


def equal_mass_ece(p: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """The ECE by sorting and cutting into 15 parts, for distinct values."""
    order = np.argsort(p)
    parts = np.array_split(order, 15)
    return float(sum(abs((p[part] - y[part]).sum()) for part in parts) / len(p))


def lists(y: npt.NDArray[Any], nothing: str = "No Finding") -> list[str]:
    named = ([name for name, mark in zip(NAMES, row, strict=True) if mark] for row in y)
    return ["|".join(names) or nothing for names in named]


def written(path: Path, header: list[str], rows: Any, delimiter: str = ",") -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows([header, *rows])
    return path


def read(path: Path, **options: Any) -> LabeledFindings:
    found = read_predictions(path, ReadingOptions(**options))
    assert isinstance(found, LabeledFindings)
    return found


def test_each_finding_is_measured_as_by_scikit_learn() -> None:
    found = candor.calibrate(P, Y, classes=NAMES, findings="*")
    for place, name in enumerate(NAMES):
        given, p, y = found.findings[name].given, P[:, place], Y[:, place]
        assert given.auroc == pytest.approx(roc_auc_score(y, p))
        assert given.auprc == pytest.approx(average_precision_score(y, p))
        assert given.ece == pytest.approx(equal_mass_ece(p, y))
        assert given.observed_expected == pytest.approx(y.sum() / p.sum())
    assert candor.measure(P, Y, classes=NAMES, findings="*") == found.measures
    mean = np.mean([each.auroc for each in found.measures.findings.values()])
    assert found.measures.macro["auroc"] == pytest.approx(mean)


def test_a_calibrator_of_a_finding_needs_twenty_positives_and_helps_on_new_rows() -> None:
    found: Any = candor.calibrate(P, Y, classes=NAMES)  # labels decide
    edema, mass, nodule = found.findings.values()
    assert 1 / found.calibrator.affine.weight[0] == pytest.approx(2.5, rel=0.25)
    assert edema.effect.measures.ece < edema.given.ece / 2
    assert mass.calibrator.fitted
    assert nodule.given.positives < 20
    assert (nodule.effect, nodule.calibrator.fitted) == (None, False)
    assert "a calibrator needs 20 of each" in nodule.refused
    new_p, new_y = findings(1, temperature=2.5)
    after = candor.measure(found.transform(new_p), new_y, classes=NAMES, findings="*")
    before = candor.measure(new_p, new_y, classes=NAMES, findings="*")
    for name in ("Edema", "Mass"):
        assert after.findings[name].ece < before.findings[name].ece / 2
    assert (found.transform(new_p)[:, 2] - new_p[:, 2]).max() < 1e-9


def test_calibrated_findings_are_left_alone() -> None:
    found = candor.calibrate(*findings(2), classes=NAMES, findings="*")
    assert found.calibrator.method == "none"
    assert all(
        each.standing in (Standing.NOT_SHOWN, Standing.TOO_FEW) for each in found.findings.values()
    )


def test_what_is_unknown_counts_nowhere() -> None:
    rng = np.random.default_rng(0)
    partly = np.where(rng.random(Y.shape) < 0.4, np.nan, Y)
    uncertain = np.where(rng.random(Y.shape) < 0.05, -1, partly)
    known = np.where(uncertain == -1, np.nan, uncertain)
    with pytest.warns(UserWarning, match="without a label"):
        measured = candor.measure(P, uncertain, classes=NAMES, findings="*")
    for place, name in enumerate(NAMES):
        seen = ~np.isnan(known[:, place])
        auroc = roc_auc_score(known[seen, place], P[seen, place])
        assert measured.findings[name].labeled == seen.sum()
        assert measured.findings[name].auroc == pytest.approx(auroc)


def test_arrays_as_people_have_them() -> None:
    for probabilities, labels in [
        (P.tolist(), Y.astype(int).tolist()),
        (torch.tensor(P, requires_grad=True), torch.tensor(Y)),
        (
            pd.DataFrame(P, columns=NAMES),
            pd.DataFrame(Y, columns=NAMES)[["Nodule", "Mass", "Edema"]],
        ),
        (pd.DataFrame(P, columns=NAMES), lists(Y)),
        (P.tolist(), Y.astype(bool)),
    ]:
        measured = candor.measure(probabilities, labels, findings="*")
        expected = candor.measure(P, Y, findings="*")
        for one, other in zip(measured.findings.values(), expected.findings.values(), strict=True):
            assert one.as_dict() == pytest.approx(other.as_dict(), rel=1e-9)


def tables(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The same findings in every form of table, and the options that each needs."""
    marks, scores = Y.astype(int).tolist(), P.tolist()
    both = [[*y, *p] for y, p in zip(marks, scores, strict=True)]
    listed = [[text, *p] for text, p in zip(lists(Y), scores, strict=True)]
    sought = [[text, "Edema|Mass|Nodule", *p] for text, p in zip(lists(Y, ""), scores, strict=True)]
    logits = [
        [*y, *np.log(np.array(p) / (1 - np.array(p)))] for y, p in zip(marks, scores, strict=True)
    ]
    words = [
        ["present" if y else "absent" for y in row] + p
        for row, p in zip(marks, scores, strict=True)
    ]
    plain, prob = list(NAMES), [f"prob_{name}" for name in NAMES]
    prefixed = [f"label_{name}" for name in NAMES]
    return {
        "names": (written(folder / "a.csv", [*plain, *prob], both), {}),
        "prefix": (written(folder / "b.csv", [*prefixed, *(f"p_{n}" for n in plain)], both), {}),
        "bare": (written(folder / "c.csv", [*prefixed, *plain], both, ";"), {}),
        "nih": (
            written(folder / "d.csv", ["Finding Labels", *prob], listed),
            {"findings": "*", "wishes": ColumnWishes(label="Finding Labels")},
        ),
        "looked for": (written(folder / "e.csv", ["label", "looked_for", *prob], sought), {}),
        "logits": (written(folder / "f.csv", [*plain, *(f"logit_{n}" for n in plain)], logits), {}),
        "words": (written(folder / "g.csv", [*plain, *prob], words), {}),
        "option": (
            written(folder / "h.csv", [*plain, *(f"{n} score" for n in plain)], both),
            {"wishes": ColumnWishes(scores="* score")},
        ),
    }  # fmt: skip


@pytest.mark.parametrize(
    "form", ["names", "prefix", "bare", "nih", "looked for", "logits", "words", "option"]
)
def test_every_table_is_read_as_the_same_findings(tmp_path: Path, form: str) -> None:
    file, options = tables(tmp_path)[form]
    found = read(file, **options)
    assert found.names == NAMES
    assert found.labels is not None
    assert (found.labels == Y).all()
    assert np.abs(found.probabilities - P).max() < 1e-12


def test_what_is_open_is_asked(tmp_path: Path) -> None:
    file, _ = tables(tmp_path)["nih"]
    of_lists = ReadingOptions(wishes=ColumnWishes(label="Finding Labels"))
    with pytest.raises(PredictionsRefused, match=r"--findings 'A\|B\|C'.*looked_for.*--exclusive"):
        read_predictions(file, of_lists)
    ones = np.eye(3)[np.arange(N) % 3]
    blanks = [
        ["" if not y else 1 for y in row] + p for row, p in zip(ones, P.tolist(), strict=True)
    ]
    file = written(tmp_path / "blanks.csv", [*NAMES, *(f"p_{n}" for n in NAMES)], blanks)
    with pytest.raises(PredictionsRefused, match=r"--exclusive.*--findings"):
        read_predictions(file)
    both = [[*y, *p] for y, p in zip(ones.astype(int), P.tolist(), strict=True)]
    file = written(tmp_path / "one.csv", [*NAMES, *(f"p_{n}" for n in NAMES)], both)
    with pytest.raises(PredictionsRefused, match="--findings '\\*'"):
        read_predictions(file)
    assert read(file, findings="*").names == NAMES


def test_one_hot_rows_are_classes_and_a_missing_one_is_left_out(tmp_path: Path) -> None:
    p, ones = P / P.sum(axis=1, keepdims=True), np.eye(3, dtype=int)[np.arange(N) % 3]
    rows = [[*y, *each] for y, each in zip(ones.tolist(), p.tolist(), strict=True)]
    rows[4][:3] = ["", "", ""]
    found = read_predictions(
        written(tmp_path / "a.csv", [*NAMES, *(f"p_{n}" for n in NAMES)], rows)
    )
    assert isinstance(found, LabeledPredictions)
    assert found.labels.tolist() == [k % 3 for k in range(N) if k != 4]


def test_findings_without_labels_or_scores_are_named(tmp_path: Path) -> None:
    header = ["label_Edema", "label_Mass", "label_Hernia", "p_Edema", "p_Mass", "p_Fracture"]
    rows = [[*y[:2], 0, *p] for y, p in zip(Y.astype(int).tolist(), P.tolist(), strict=True)]
    found = read(written(tmp_path / "a.csv", header, rows), findings="*")
    assert found.names == ("Edema", "Mass")
    assert any("Fracture" in note for note in found.notes)


def test_case_tells_two_findings_apart(tmp_path: Path) -> None:
    header = ["Mass", "mass", "p_Mass", "p_mass"]
    rows = np.hstack([Y[:, :2].astype(int).astype(object), P[:, :2]]).tolist()
    found = read(written(tmp_path / "a.csv", header, rows), findings="*")
    assert found.names == ("Mass", "mass")
    np.testing.assert_array_equal(found.labels, Y[:, :2])


def test_what_is_saved_gives_the_same(tmp_path: Path) -> None:
    found = candor.calibrate(P, Y, classes=NAMES, findings="*")
    found.save(tmp_path / "c.json")
    again = PortableCalibrator.from_json((tmp_path / "c.json").read_text())
    assert (again.of, again.classes) == ("findings", NAMES)
    assert np.allclose(again(P), found.transform(P))
    found.save(tmp_path / "c.onnx")
    session = ort.InferenceSession(tmp_path / "c.onnx")
    given = {"probabilities": P.astype(np.float32)}
    assert np.abs(session.run(None, given)[0] - found.transform(P)).max() < 1e-5
    logits = np.log(P / (1 - P))
    of_logits = candor.calibrate(logits, Y, classes=NAMES, findings="*", logits=True)
    of_logits.save(tmp_path / "l.onnx")
    session = ort.InferenceSession(tmp_path / "l.onnx")
    calibrated = session.run(None, {"logits": logits.astype(np.float32)})[0]
    assert np.abs(calibrated - found.transform(P)).max() < 1e-5


def test_thresholds_keep_their_word_and_all_is_shown() -> None:
    options = ReadingOptions(classes=NAMES, findings="*")
    reading = candor.predictions.reading.read_arrays(P, Y, None, options)
    assert isinstance(reading, LabeledFindings)
    found = reading.examined(Examining(title="T", rule=("sensitivity", 0.9)))
    point = found.findings["Edema"].point
    said = found.transform(P)[:, 0] >= point.threshold
    assert said[Y[:, 0] == 1].mean() == pytest.approx(point.sensitivity.value)
    assert said[Y[:, 0] == 1].mean() >= 0.9
    for shown in (found.page(), found._repr_html_(), json.dumps(found.as_dict()), repr(found)):
        assert "Edema" in shown or "findings" in shown


@pytest.mark.parametrize(
    ("old", "new", "said"), [("|", "; ", r"separate them with \|"), ("Nodule", "Nodul", "slip")]
)
def test_what_lists_spell_otherwise_is_not_absent(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    cells = [[*p, text.replace(old, new)] for p, text in zip(P, lists(Y), strict=True)]
    table = written(tmp_path / "a.csv", [*(f"p_{name}" for name in NAMES), "label"], cells)
    with pytest.raises(PredictionsRefused, match=said):
        read(table, findings="*")


def test_named_findings_choose_columns_and_a_slip_is_refused() -> None:
    found = candor.measure(P, Y, classes=NAMES, findings="Nodule|Edema")
    assert sorted(found.findings) == ["Edema", "Nodule"]
    assert found.findings["Edema"].auroc == pytest.approx(roc_auc_score(Y[:, 0], P[:, 0]))
    for names, slip in ((NAMES, "Edema|Mas"), (None, "Edema|Mass|Nodule")):
        with pytest.raises(PredictionsRefused, match="has no column of labels; they are of"):
            candor.measure(P, Y, classes=names, findings=slip)
