"""`candor calibrate` on predictions of real images, against netcal and torchmetrics; slips."""

import csv
import json
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torchmetrics.classification import MulticlassCalibrationError

from candor.predictions.errors import PredictionsRefused
from tests.builders.processes import candor_here

run = partial(candor_here, "calibrate", catch_exceptions=False)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from netcal.metrics import ECE

Predictions = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


@pytest.fixture(scope="module")
def digits() -> Predictions:
    """Probabilities and labels of 1,397 digits, by a model that has seen 400 and is too sure."""
    images = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images.target))
    noisy = images.data + rng.normal(0, 4, images.data.shape)
    model = LogisticRegression(C=100.0, max_iter=2_000).fit(
        noisy[order[:400]], images.target[order[:400]]
    )
    return model.predict_proba(noisy[order[400:]]), images.target[order[400:]]


@pytest.fixture
def file(digits: Predictions, tmp_path: Path) -> Path:
    p, y = digits
    with (tmp_path / "digits.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([*(f"prob_{k}" for k in range(10)), "label"])
        rows.writerows([*p[i], y[i]] for i in range(len(y)))
    return tmp_path / "digits.csv"


def test_real_predictions_are_measured_as_others_measure_and_calibrated(
    digits: Predictions, file: Path, tmp_path: Path
) -> None:
    p, y = digits
    done = run(file, "--json", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "true label: label" in done.stderr
    found = json.loads(done.stdout)
    measured = found["given"]["measures"]
    theirs = MulticlassCalibrationError(num_classes=10, n_bins=15)(torch.tensor(p), torch.tensor(y))
    assert measured["ece"] == pytest.approx(ECE(15).measure(p, y), abs=1e-6)
    assert measured["ece"] == pytest.approx(float(theirs), abs=1e-5)
    assert found["standing"] == "overconfident"
    assert found["effect"]["after"]["measures"]["ece"] < measured["ece"] / 2
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "calibrator.json",
        "calibrator.onnx",
        "reliability.svg",
        "report.html",
        "report.json",
    }
    assert json.loads((tmp_path / "out/report.json").read_text()) == found
    session = ort.InferenceSession(tmp_path / "out/calibrator.onnx")
    in_runtime = session.run(None, {"probabilities": p.astype(np.float32)})[0]

    to = tmp_path / "calibrated.csv"
    done = run(file, "--apply", tmp_path / "out/calibrator.json", "--to", to)
    assert f"{to}: 1,397 rows, calibrated by temperature" in done.stdout
    with to.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    written = np.array([[float(row[f"probability {k}"]) for k in range(10)] for row in rows])
    assert np.abs(written - in_runtime).max() < 1e-5
    assert [int(row["predicted"]) for row in rows] == p.argmax(axis=1).tolist()


CLASSES = ("normal", "pneumonia")


def _table(
    file: Path, *, labels: tuple[str, str] = CLASSES, too_sure: float = 3.0, slip: str | None = None
) -> Path:
    """300 rows, sorted by label; the log-odds are `too_sure` times those that the labels follow."""
    rng = np.random.default_rng(1)
    odds = rng.normal(0, 1.5, 300)
    ill = rng.random(300) < 1 / (1 + np.exp(-odds))
    p = 1 / (1 + np.exp(-too_sure * odds))
    order = np.argsort(ill, kind="stable")
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", *CLASSES, "label"])
        for number, i in enumerate(order):
            named = slip if slip and number == 299 else labels[int(ill[i])]
            rows.writerow([f"{number}.png", f"{1 - p[i]:.6f}", f"{p[i]:.6f}", named])
    return file


@pytest.fixture
def calibrator(tmp_path: Path) -> Path:
    done = run(_table(tmp_path / "labeled.csv"), "--out", tmp_path / "cal")
    first, *_, last = done.stderr.strip().splitlines()
    assert first.endswith("labeled.csv, 300 rows, read as")  # how rows were read comes first
    assert last.startswith("Calibrator and report are in")
    return tmp_path / "cal/calibrator.json"


def _applied(calibrator: Path, text: str, *more: str) -> tuple[list[dict[str, str]], str]:
    source, to = calibrator.parent / "new.csv", calibrator.parent / "out.csv"
    source.write_text(text)
    done = run(source, "--apply", calibrator, "--to", to, *more)
    with to.open(newline="") as stream:
        return list(csv.DictReader(stream)), done.stderr


def test_a_calibrator_is_applied_to_rows_without_labels_which_keep_their_ids(
    calibrator: Path,
) -> None:
    rows, _ = _applied(
        calibrator, "file,request_id,normal,pneumonia\na.png,r1,0.1,0.9\nb.png,,0.6,0.4\n"
    )
    assert [(row["row"], row["file"], row["request_id"], row["predicted"]) for row in rows] == [
        ("1", "a.png", "r1", "pneumonia"),
        ("2", "b.png", "", "normal"),
    ]
    assert 0.5 < float(rows[0]["probability pneumonia"]) < 0.8
    swapped, _ = _applied(calibrator, "file,p_pneumonia,p_normal\na.png,0.9,0.1\n")
    assert swapped[0]["probability pneumonia"] == rows[0]["probability pneumonia"]


def test_one_score_is_of_the_class_that_it_names_or_that_is_said(calibrator: Path) -> None:
    rows, said = _applied(calibrator, "file,p_normal\na.png,0.9\n")
    assert rows[0]["predicted"] == "normal"
    assert "p_normal was taken as the probability of 'normal'" in said
    alone = "file,prob\na.png,0.9\n"
    with pytest.raises(PredictionsRefused, match="--positive"):
        _applied(calibrator, alone)
    for name in CLASSES:
        assert _applied(calibrator, alone, "--positive", name)[0][0]["predicted"] == name


def test_columns_that_are_not_those_of_the_calibrator_are_refused_by_its_names(
    calibrator: Path,
) -> None:
    with pytest.raises(
        PredictionsRefused, match=r"classes of the calibrator, normal, pneumonia.*--scores"
    ):
        _applied(calibrator, "file,a,b\nx,0.1,0.9\n")


def test_no_calibrator_is_written_where_none_improves(tmp_path: Path) -> None:
    done = run(_table(tmp_path / "p.csv", too_sure=1.0), "--out", tmp_path / "out")
    assert "No calibrator" in done.stdout
    assert "No calibrator was written" in done.stderr
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        "report.html",
        "report.json",
        "reliability.svg",
    }


def test_classes_in_another_order_than_the_columns_rename_nothing(tmp_path: Path) -> None:
    """With columns p_ill,p_healthy this wrote a calibrator with a temperature of 20."""
    source = (
        _table(tmp_path / "p.csv").read_text().replace("normal,pneumonia,l", "p_ill,p_healthy,l")
    )
    source = source.replace("normal", "ill").replace("pneumonia", "healthy")
    (tmp_path / "p.csv").write_text(source)
    found = []
    for options in ((), ("--classes", "healthy,ill")):
        done = run(tmp_path / "p.csv", "--json", *options)
        found.append(json.loads(done.stdout)["calibrator"])
    assert found[0] == found[1]
    assert found[0]["classes"] == ["ill", "healthy"]
    assert 2 < 1 / found[0]["weight"][0] < 5


def test_the_test_rows_judge_and_training_rows_are_left_out(tmp_path: Path) -> None:
    """Answers to training images are right, those to others too sure: the verdicts differ."""
    lines = _table(tmp_path / "p.csv").read_text().splitlines()
    known = [f"t{n}.png,{1 - n % 2},{n % 2},{CLASSES[n % 2]},train" for n in range(600)]
    others = [f"{line},{('val', 'test')[n % 2]}" for n, line in enumerate(lines[1:])]
    (tmp_path / "p.csv").write_text("\n".join([f"{lines[0]},split", *known, *others]))
    done = json.loads(run(tmp_path / "p.csv", "--json").stdout)
    assert done["standing"] == "overconfident"
    assert done["given"]["measures"]["n"] == 150
    assert (done["effect"]["judged"], done["effect"]["fitted_on"]) == ("held-out", 150)
    assert "600 rows of the split train left out" in done["notes"][0]
