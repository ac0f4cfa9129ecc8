"""`candor data check` on real trees, and DICOM from there through training to serving."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model_store.store.store import Store
from serving.inference.predictor import Predictor
from tests.builders import trees
from tests.builders.processes import candor_here
from training.datasets import load_dataset
from training.networks.backbones import SMALL
from training.runs.config import TrainConfig, read_record
from training.runs.export import export
from training.runs.run import train

check = partial(candor_here, "data", "check")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def plain(root: Path) -> Path:
    some = trees.pictures()
    for name in ("train/a", "train/b", "test/a", "test/b"):
        for number in range(10):
            trees.write(root / name / f"{number}.png", next(some))
    return root


def ct_table(root: Path) -> Path:
    """CT slices of two classes, one of which is damaged, and their table."""
    images = sorted(trees.rsna(root).rglob("*.dcm"))
    rows = [
        (path.relative_to(root), "no" if at % 4 < 2 else "yes") for at, path in enumerate(images)
    ]
    trees.table(root / "labels.csv", ("path", "label"), rows)
    return root


def test_json_for_scripts(tmp_path: Path) -> None:
    arguments = ("--window", "40,80", "--max-corrupt", "0.05", "--json")
    found = json.loads(check(ct_table(tmp_path / "data"), *arguments).stdout)
    assert (found["layout"], found["window"], found["refused"]) == ("csv", [40.0, 80.0], None)
    assert found["groups"] == {"train": 13, "val": 3, "test": 4}
    assert found["excluded"][0]["path"].endswith("ID_6431af929.dcm")


def test_refused_data_is_reported_completely_with_exit_code_1(tmp_path: Path) -> None:
    root = plain(tmp_path / "data")
    (root / "test/a/0.png").write_bytes((root / "train/a/0.png").read_bytes())
    for number in range(30):
        (root / f"train/b/broken{number}.png").write_bytes(b"\x89PNG")
    result = check(root)
    assert result.exit_code == 1
    assert "Left out, 30 files:" in result.stdout
    assert "and 10 more" in result.stdout
    assert "refused" in result.stderr
    assert check(root, "--max-corrupt", "1").exit_code == 1
    accepted = check(root, "--max-corrupt", "1", "--allow-leakage")
    assert accepted.exit_code == 0
    assert "allowed leakage: 1 image content in both train and test" in accepted.stdout.replace(
        "\n", " "
    )


@pytest.mark.parametrize("window", ["40", "40,x", "40,0"])
def test_an_invalid_window_is_a_usage_error(tmp_path: Path, window: str) -> None:
    result = check(plain(tmp_path / "data"), "--window", window)
    assert result.exit_code == 2


def test_dicom_goes_from_the_scanner_to_the_answer_with_one_window(tmp_path: Path) -> None:
    """Training, card and server show the same pixels, although files have other windows."""
    dataset = load_dataset(ct_table(tmp_path / "data"), window=(40.0, 80.0), max_corrupt=0.05)
    config = TrainConfig(
        loss="ce", backbone=SMALL, weights="none", epochs=1, batch_size=8, image_size=32
    )
    run = train(config, dataset, tmp_path / "run", pictures=False)
    described = json.loads((run.folder / "data.json").read_text())
    assert described["layout"] == "csv"
    assert (run.folder / "excluded.csv").read_text().count("ID_6431af929") == 1
    assert read_record(run.folder).spec.window == (40.0, 80.0)
    store = Store(tmp_path / "store")
    export(run.folder, store, "ct", anyway=True)  # noise, from which nothing can be learned
    bundle = store.read("ct", 1)
    assert bundle.card.input.window == (40.0, 80.0)
    split = dataset.splits["test"]
    served, seen = Predictor(bundle), split.inputs(bundle.card.input.spec)
    for index in range(len(split)):
        expected = served.predict(seen[index : index + 1])[0]
        answer = served.classify(split.images.encoded(index)).probabilities
        np.testing.assert_array_equal(np.array(list(answer.values()), np.float32), expected)
