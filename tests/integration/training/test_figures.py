"""The command of every figure on digits, small and short: plots, tables, and cached results."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from calibration.wording import points
from tests.builders.processes import candor_here
from training.experiments import toy as toys
from training.experiments import trace as traces
from training.experiments.grid import parse_variant
from training.experiments.toy import Problem, draw, learn, positions, true_probability
from training.networks.backbones import SMALL

SHORT = (
    "--network",
    f"{SMALL} epochs=2",
    *shlex.split("--data digits --jobs 1 --seeds 1"),
)
RESULTS = Path(__file__).parents[3] / "docs" / "results"
PUBLISHED = "pneumoniamnist-tf_efficientnet_lite0"


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One feature cache for all of them."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: home)


def run(*arguments: str | Path) -> Result:
    result = candor_here("experiment", *arguments)
    assert result.exit_code == 0, result.output
    return result


def tables(out: Path) -> str:
    return (out / "tables.md").read_text(encoding="utf-8")


def is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        return image.format == "PNG" and image.width > 400


def columns(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0]


def assert_published(out: Path, name: str, published: str) -> None:
    """The command writes the columns that docs/results/ shows."""
    assert columns(out / "tables" / f"{name}.csv") == columns(RESULTS / f"{published}.csv")


@pytest.mark.nightly
def test_curves_and_embedding_are_drawn_from_one_kind_of_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = run("curves", *SHORT, "--epochs", "3", "--out", tmp_path)
    assert "Figure 1: the last epoch" in shown.stdout
    assert is_picture(tmp_path / "curves_digits_small_conv.png")
    assert_published(tmp_path, "curves", "curves/curves")
    kept = sorted((tmp_path / "traces").iterdir())
    assert len(kept) == 2
    for folder in kept:
        assert len(json.loads((folder / "lines.json").read_text())) == 3 * 3

    monkeypatch.setattr(traces, "TrainingSession", lambda *_: pytest.fail("computed again"))
    assert run("curves", *SHORT, "--epochs", "3", "--out", tmp_path).stdout == shown.stdout
    monkeypatch.undo()
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    run("embed", *SHORT, "--method", "ce", "--out", tmp_path / "embed")
    assert "| ce, seed 0 |" in tables(tmp_path / "embed").replace("digits, ", "")
    assert is_picture(tmp_path / "embed" / "embedding_digits_small_conv.png")
    assert_published(tmp_path / "embed", "embed", "embed/embed")


def test_beta(tmp_path: Path) -> None:
    run("beta", *SHORT, "--betas", "1,25", "--out", tmp_path)
    lines = tables(tmp_path).splitlines()
    rows = [line.split(" |")[0] for line in lines if line.startswith("| ")]
    assert rows[2:] == ["| ce", "| dca beta=1", "| dca beta=25"]
    assert is_picture(tmp_path / "beta_digits_small_conv.png")
    assert is_picture(tmp_path / "training_digits_small_conv.png")
    assert_published(tmp_path, "beta-digits-small_conv", f"beta/beta-{PUBLISHED}")
    wrong = candor_here("experiment", "beta", "--betas", "one")
    assert wrong.exit_code == 2


def test_several_heads_have_no_curve(tmp_path: Path) -> None:
    result = candor_here("experiment", "curves", *SHORT, "--method", "ce x2", "--out", tmp_path)
    assert "one by one" in str(result.exception)


def test_select_writes_each_candidate(tmp_path: Path) -> None:
    shown = run("select", *SHORT, "--method", "ce", "--method", "dca", "--out", tmp_path)
    assert "resamples of 1 seed and " in shown.stdout
    assert len((tmp_path / "selection.csv").read_text().splitlines()) == 11


class TestToy:
    SMALL = Problem(images=512, epochs=40, width=32, learning_rate=1e-2)

    def test_cross_entropy_finds_the_truth_where_there_is_enough_of_it(self) -> None:
        curve = learn(parse_variant("ce"), self.SMALL, seed=0)
        assert np.abs(curve - true_probability(positions())).mean() < 0.1

    def test_labels_are_drawn_from_the_truth(self) -> None:
        examples = draw(40_000, seed=0)
        near = np.abs(examples.inputs[:, 0] - 1.0) < 0.05
        assert examples.labels[near].mean() == pytest.approx(0.9, abs=0.03)

    def test_the_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        arguments = shlex.split("toy --method ce --method soft-ece --seeds 2 --out")
        arguments.append(str(tmp_path))
        short = replace(self.SMALL, images=128, epochs=4)
        monkeypatch.setattr(toys.Problem, "__init__", lambda self: vars(self).update(vars(short)))
        shown = run(*arguments)
        assert "| soft-ece |" in tables(tmp_path)
        assert is_picture(tmp_path / "toy.png")
        assert_published(tmp_path, "toy", "toy/toy")
        monkeypatch.setattr(toys, "learn", lambda *_, **__: pytest.fail("computed again"))
        (figure,) = json.loads(run(*arguments, "--json").stdout)
        (plain, _) = figure["rows"]
        assert 0 < plain["off by"]["mean"] < 1
        assert f"| {points(plain['off by']['mean']).split()[0]} ± " in tables(tmp_path)
        assert run(*arguments).stdout == shown.stdout
