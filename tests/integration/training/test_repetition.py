"""A run repeated from its card, and a run exported twice: the same weights, the same bytes."""

import json
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candor import command_line
from model_store.store.store import Store
from tests.builders import trees
from tests.builders.processes import candor_here as candor

CHOICES = shlex.split(
    "--backbone small_conv --weights none --whole --epochs 2 --batch-size 8 --learning-rate 0.003 "
    "--loss focal+dca --option gamma=2 --augment light --image-size 16 --resize crop --seed 5 "
    "--recipe fixed --device cpu"
)
pytestmark = pytest.mark.usefixtures("undrawn")
WRITTEN = ("checkpoint.safetensors", "config.json", "history.csv", "metrics.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, some = tmp_path_factory.mktemp("data") / "images", trees.pictures(side=16)
    for name, level in (("dark", 0.5), ("bright", 1.0)):
        for number in range(40):
            trees.write(
                root / name / f"p{number // 2}_{number}.png", (next(some) * level).astype(np.uint8)
            )
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    done = candor("train", data, *CHOICES, "--group-pattern", r"^(p\d+)_", "--out", folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    done = candor("export", run, "--name", "shapes", "--anyway", "--store", store)
    assert done.exit_code == 0, done.output
    return Store(store).folder("shapes", 1)


def card_of(bundle: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((bundle / "card.json").read_text())
    return card


def test_the_card_has_every_choice_and_no_place_of_this_machine(bundle: Path, data: Path) -> None:
    training = card_of(bundle)["provenance"]["training"]
    assert training["choices"]["learning_rate"] == 0.003
    assert training["choices"]["loss_options"] == {"gamma": 2.0}
    assert training["loaded"]["group_pattern"] == r"^(p\d+)_"
    assert training["loaded"]["source"] == "images"
    assert sum(sum(counts) for counts in training["images"].values()) == len(
        list(data.rglob("*.png"))
    )
    for path in bundle.iterdir():
        contents = path.read_bytes()
        assert str(data.parent).encode() not in contents, path.name
        assert str(Path(command_line.__file__).parents[1]).encode() not in contents, path.name


def test_the_card_says_how_far_onnx_runtime_was_from_torch(bundle: Path) -> None:
    verification = card_of(bundle)["verification"]
    assert verification["images"] == verification["alone"] > 1
    assert 0 <= verification["max_difference"] < 1e-4
    assert verification["libraries"].keys() == {"onnxruntime", "torch"}


@pytest.mark.nightly
def test_exporting_twice_writes_the_same_bytes(run: Path, bundle: Path, tmp_path: Path) -> None:
    """Once in a fresh process."""
    words = ["export", run, "--name", "shapes", "--anyway", "--store", tmp_path / "another store"]
    command = [sys.executable, "-m", "candor", *map(str, words)]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    again = Store(tmp_path / "another store").folder("shapes", 1)
    assert sorted(path.name for path in again.iterdir()) == sorted(
        path.name for path in bundle.iterdir()
    )
    for path in bundle.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name
    with zipfile.ZipFile(bundle / "shapes.mar") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_card_repeats_the_run_to_the_bit(
    run: Path, bundle: Path, data: Path, tmp_path: Path
) -> None:
    done = candor("train", data, "--from-card", bundle / "card.json", "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    assert "its weights are those of the card, to the bit" in " ".join(done.stdout.split())
    for name in (*WRITTEN, "predictions.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes(), name


def edited(bundle: Path, folder: Path, **changes: Any) -> Path:
    card = card_of(bundle)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = card["provenance"]
        for name in parents:
            place = place[name]
        place[last] = value
    (folder / "card.json").write_text(json.dumps(card))
    return folder / "card.json"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": None}, "does not have every choice of its run"),
        ({"training__choices__later": 1}, "cannot repeat the run: later"),
        ({"fingerprint": "0" * 64}, "the data is not that of the card"),
        ({"training__processes": 2}, "give --nproc 2"),
        ({"training__backbone_sha256": "0" * 64}, "weights are not those of the run to repeat"),
    ],
)
def test_what_cannot_be_repeated_is_refused(
    bundle: Path, data: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    card = edited(bundle, tmp_path, **changes)
    done = candor("train", data, "--from-card", card, "--out", tmp_path / "again")
    assert done.exit_code != 0
    assert said in str(done.exception)
    assert not (tmp_path / "again").exists()


@pytest.mark.nightly
def test_other_weights_than_the_cards_are_not_called_the_same(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    card = edited(bundle, tmp_path, training__checkpoint_sha256="0" * 64)
    done = candor("train", data, "--from-card", card, "--out", tmp_path / "again", "--json")
    assert json.loads(done.stdout)["repeats"] is False


def test_the_data_must_be_given_where_the_card_has_only_a_folders_name(
    bundle: Path, tmp_path: Path
) -> None:
    done = candor("train", "--from-card", bundle, "--out", tmp_path / "again")
    assert "give the data" in str(done.exception)


def test_choices_do_not_go_with_it(bundle: Path, data: Path) -> None:
    done = candor("train", data, "--from-card", bundle, "--epochs", "3", "--layout", "classes")
    assert done.exit_code == 2
    assert "leave out --epochs, --layout" in " ".join(done.output.replace("│", " ").split())


def test_what_is_no_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("[]")
    for path in (tmp_path / "none.json", tmp_path):
        assert "NotRepeatable" in repr(candor("train", "--from-card", path).exception)
