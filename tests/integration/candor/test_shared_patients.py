"""Images that seem to share a patient are refused until somebody says whether they do."""

import itertools
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.builders import trees
from tests.builders.processes import candor_here

candor = partial(candor_here, env={"COLUMNS": "200"})
PATIENTS, EACH = 30, 3
TABLES = ("patient{:05}/study1/view{}.png", "patient{:05}/{}.png", "all/{:04}/{}.png")
FOLDERS = (
    "{label}/patient{:05}/study1/view{}.png",
    "{label}/{:03}/{}.png",
    "{split}/{label}/p{:03}_{}.png",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


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


def test_a_class_that_the_test_split_lacks_is_refused(tmp_path: Path) -> None:
    rows = [
        (path, "rare" if number % 5 == 0 else label, "train" if number % 5 == 0 else split)
        for number, (path, label) in enumerate(written(tmp_path / "data", "{:03}{}.png"))
        for split in [("train", "val", "test")[number % 3]]
    ]
    table = trees.table(tmp_path / "data/labels.csv", ("path", "label", "split"), rows)
    said = candor("train", table, "--out", tmp_path / "run")
    assert said.exit_code == 1
    assert "has no image of rare; add images" in str(said.exception)
