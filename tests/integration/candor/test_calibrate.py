"""`candor calibrate` on predictions of a model of real images, against netcal and torchmetrics."""

import csv
import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torchmetrics.classification import MulticlassCalibrationError

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


def test_the_report_is_printed(file: Path, tmp_path: Path) -> None:
    done = run(file, "--out", tmp_path)
    for part in (
        "Overconfident. On average",
        "A temperature was fitted on 1,397 rows",
        "Measures",
        "Classes",
        "Reliability",
    ):
        assert part in done.stdout
    assert "<svg" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--apply", "calibrator.json"], "--apply CALIBRATOR goes with --to"),
    ],
)
def test_options_that_exclude_each_other(file: Path, arguments: list[Any], said: str) -> None:
    done = run(file, *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
