"""`candor data check` and `candor train` on real trees: cells, patients, DICOM up to the server."""

import itertools
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from candor.commands.importing import labeled_images
from candor.predictions.labeled import LabeledFindings
from candor.predictions.reading import read_predictions
from model_store.store.store import Store
from serving.inference.predictor import Predictor
from tests.builders import trees
from tests.builders.processes import candor_here
from training.datasets import load_dataset
from training.datasets.errors import BadDataset
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


candor = partial(candor_here, env={"COLUMNS": "200"})
PATIENTS, EACH = 30, 3
TABLES = ("patient{:05}/study1/view{}.png", "patient{:05}/{}.png", "all/{:04}/{}.png")
FOLDERS = (
    "{label}/patient{:05}/study1/view{}.png",
    "{label}/{:03}/{}.png",
    "{split}/{label}/p{:03}_{}.png",
)


def written(root: Path, name: str) -> Iterator[tuple[str, str]]:
    """Write the images of all patients; give each path and its label."""
    pictures = trees.pictures()
    for patient, image in itertools.product(range(PATIENTS), range(EACH)):
        label = ("well", "ill")[patient % 2]
        split = ("train", "test")[patient % 5 == 0]
        path = name.format(patient, image, label=label, split=split)
        trees.write(root / path, next(pictures))
        yield path, label


def refused(data: Path) -> str:
    """The pattern that `candor train` asks about before anything is trained."""
    said = candor("train", data, "--out", data.parent / "run")
    assert said.exit_code == 1
    assert not (data.parent / "run").exists()
    message = str(said.exception)
    assert "if each stands alone, give --group none" in message
    (pattern,) = re.findall(r"give --group-pattern '(.*?)', or", message)
    (path,) = re.findall(r" in '(.*?)' name a patient", message)
    assert re.search(pattern, path)
    return pattern


def groups(data: Path, *options: str) -> dict[str, int | None]:
    checked = candor("data", "check", data, *options, "--json")
    assert checked.exit_code == 0
    found: dict[str, int | None] = json.loads(checked.stdout)["groups"]
    return found


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path: Path, name: str) -> None:
    rows = list(written(tmp_path / "data", name))
    table = trees.table(tmp_path / "data/labels.csv", ("path", "label"), rows)
    assert sum(groups(table, "--group-pattern", refused(table)).values()) == PATIENTS
    assert set(groups(table, "--group", "none").values()) == {None}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(tmp_path: Path, name: str) -> None:
    list(written(tmp_path / "data", name))
    found = groups(tmp_path / "data", "--group-pattern", refused(tmp_path / "data"))
    assert sum(found.values()) == PATIENTS
    assert set(groups(tmp_path / "data", "--group", "none").values()) == {None}


def test_a_folder_for_each_patient_is_no_class(tmp_path: Path) -> None:
    list(written(tmp_path / "data", "patient{:05}/{}.png"))
    said = candor("train", tmp_path / "data", "--out", tmp_path / "run")
    assert said.exit_code == 1
    assert "CLASS/PATIENT/IMAGE" in str(said.exception)


@pytest.mark.parametrize(
    "name", ["{label}/{:03}{}.png", "{label}/img_{:03}{}.jpg", "site1/{label}_{:03}{}.png"]
)
def test_names_that_only_number_images_are_not_asked_about(tmp_path: Path, name: str) -> None:
    rows = list(written(tmp_path / "data", name))
    table = trees.table(tmp_path / "data/labels.csv", ("path", "label"), rows)
    assert set(groups(table).values()) == {None}


CELLS = ["1", "0", "n/a", "positive", "negative", "NaN", "present", "absent", "-1", "uncertain", ""]
KNOWN = [1, 0, np.nan, 1, 0, np.nan, 1, 0, np.nan, np.nan, np.nan]


def table(folder: Path, *, label: str = "") -> Path:
    """A row for each cell of the finding Edema, in several turns; Mass is known of all; No Finding,
    as in CheXpert, is 1 or blank; or `label` in place of one class of two.
    """
    rng = np.random.default_rng(0)
    header = "path,label" if label else "path,Edema,Mass,No Finding,p_Edema,p_Mass"
    rows = [header]
    for n in range(66):
        name, cell, mass = f"{n:03}.png", CELLS[n % len(CELLS)], n % 3 == 0
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        none = "1" if cell == "0" and not mass else ""
        classes = f"{name},{(label, 'ill', 'well')[n % 3]}"
        rows.append(classes if label else f"{name},{cell},{int(mass)},{none},0.{n % 7 + 1},0.4")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder / "labels.csv"


def test_a_cell_means_the_same_to_three_rooms(tmp_path: Path) -> None:
    file = table(tmp_path)
    calibrated = read_predictions(file)
    assert isinstance(calibrated, LabeledFindings)
    imported, trained = labeled_images(file), load_dataset(file)
    assert calibrated.names == imported.names == tuple(trained.classes) == ("Edema", "Mass")
    np.testing.assert_array_equal(calibrated.labels[:, 0], KNOWN * 6)
    np.testing.assert_array_equal(imported.cells, calibrated.labels)
    counts = [each.labels for each in trained.splits.values()]
    assert np.nansum(np.concatenate(counts)) == np.nansum(calibrated.labels)


def test_a_missing_label_is_no_class(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="no label, but 'n/a'"):
        load_dataset(table(tmp_path, label="n/a"))
