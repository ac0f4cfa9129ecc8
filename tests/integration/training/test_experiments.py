"""A small study from images to tables and figures: computed once, resumed, reported completely."""

import csv
import json
import math
import re
import shlex
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.builders.datasets import shades
from tests.builders.processes import candor_here
from training.datasets import Dataset
from training.datasets.errors import DataNotFound
from training.errors import BadChoice, LostProcess, TrainingDiverged, UnknownName, WeightsNotFound
from training.experiments import grid as grids
from training.experiments import study as studies
from training.experiments import toy as toys
from training.experiments.grid import Cell, Grid, Variant, changed, parse
from training.experiments.presets import chosen, network_variant, open_data, paper
from training.experiments.study import Row, Study
from training.experiments.tables import Table, final, mean_half, summary, tables
from training.experiments.toy import POSITIONS, TRUTH, draw, learn
from training.networks.backbones import SMALL
from training.runs.steps import evaluate, fit, predict, prepare

RESULTS = Path(__file__).parents[3] / "docs" / "results"
PUBLISHED = "pneumoniamnist-tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return shades(("dark", "bright"), (64, 40, 40), spread=0.0, noise=70.0)


def small_grid(*methods: str, seeds: int = 2) -> Grid:
    return Grid(
        data=(Variant("brightness", "brightness"),),
        networks=(network_variant(f"{SMALL} epochs=2"),),
        methods=tuple(map(parse, methods)),
        seeds=tuple(range(seeds)),
    )


def run(grid: Grid, dataset: Dataset, folder: Path, *, jobs: int = 1) -> list[Row]:
    datasets = {"brightness": dataset}
    study = Study(folder / "cells", folder / "cache", jobs)
    return study.rows(grid.cells(datasets, None), datasets)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment")


@pytest.fixture(scope="module")
def rows(dataset: Dataset, folder: Path) -> list[Row]:
    return run(small_grid("ce", "dca beta=5"), dataset, folder)


def by_name(found: list[Table]) -> dict[str, Table]:
    return {each.name: each for each in found}


def test_each_figure_of_the_tables_is_that_of_the_run(
    rows: list[Row], dataset: Dataset, tmp_path: Path
) -> None:
    """Against the metrics.json of the same runs, by the names of its calibrators."""
    known = {}
    for cell in small_grid("ce", "dca beta=5").cells({"brightness": dataset}, None):
        features = prepare(dataset, cell.config)
        found = evaluate(predict(fit(features, cell.config), features), dataset.classes)
        found.write(tmp_path)
        splits = json.loads((tmp_path / "metrics.json").read_text())["splits"]
        known[cell.method, cell.config.seed] = splits
    assert len(known) == 4
    for row in rows:
        measured = known[row["method"], row["seed"]][row["split"]][row["calibrator"]]
        for figure in ("ece", "accuracy", "mce", "nll", "brier"):
            assert row[figure] == pytest.approx(measured[figure], abs=1e-12)
    calibrators = known["ce", 0]["test"].keys()
    assert {row["calibrator"] for row in rows} == calibrators
    lines = by_name(tables(rows))["ece-brightness-small_conv"].lines
    for line in lines[:2]:
        for calibrator in calibrators:
            seeds = [known[line["method"], seed]["test"][calibrator]["ece"] for seed in (0, 1)]
            assert line[calibrator].startswith(f"{100 * np.mean(seeds):.1f} ± ")


def test_a_second_call_computes_nothing(
    rows: list[Row], dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "train", lambda *_, **__: pytest.fail("computed again"))
    again = run(small_grid("ce", "dca beta=5"), dataset, folder)
    assert json.dumps(again) == json.dumps(rows)  # an undefined figure, NaN, equals no other


def test_several_processes_compute_the_same(
    rows: list[Row], dataset: Dataset, tmp_path: Path
) -> None:
    apart = run(small_grid("ce", "dca beta=5"), dataset, tmp_path, jobs=2)
    assert json.dumps(apart) == json.dumps(rows)


def test_an_interrupted_grid_keeps_what_is_done(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, real = small_grid("ce", seeds=3), studies.train
    first, *_ = grid.cells({"brightness": dataset}, None)

    def interrupted(cell: Cell, *arguments: Any, **options: Any) -> list[Row]:
        if cell.config.seed == 1:
            raise KeyboardInterrupt
        return real(cell, *arguments, **options)

    monkeypatch.setattr(studies, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(grid, dataset, tmp_path)
    assert [path.name for path in (tmp_path / "cells").iterdir()] == [f"{first.key}.json"]
    monkeypatch.setattr(studies, "train", real)
    assert {row["seed"] for row in run(grid, dataset, tmp_path)} == {0, 1, 2}


def test_a_diverged_run_is_reported_and_not_repeated(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def diverging(cell: Cell, *_: Any, **__: Any) -> None:
        tried.append(cell.config.loss)
        raise TrainingDiverged(epoch=1, loss=float("nan"), learning_rate=1.0)

    monkeypatch.setattr(studies, "train", diverging)
    for _ in range(2):
        found = run(small_grid("dca", seeds=1), dataset, tmp_path)
    assert tried == ["dca"]
    first, *_ = tables(found)
    assert first.lines[0]["method"] == "dca (1 failed)"
    assert first.lines[0]["none"] == "failed"
    assert any("lower the learning rate" in note for note in first.notes)


def test_what_is_missing_or_unknown_is_refused_before_anything_is_trained(
    dataset: Dataset, tmp_path: Path
) -> None:
    grid = small_grid("ce", seeds=1)
    lost = Variant("lost", SMALL, {"weights": tmp_path / "nowhere.safetensors"})
    with pytest.raises(WeightsNotFound):
        run(replace(grid, networks=(*grid.networks, lost)), dataset, tmp_path)
    with pytest.raises(UnknownName, match="no-loss"):
        run(replace(grid, methods=(*grid.methods, parse("no-loss"))), dataset, tmp_path)
    assert not list((tmp_path / "cells").iterdir())
    with pytest.raises(DataNotFound, match=r"and data chooses"):
        open_data((parse("RSNA"),), folder=tmp_path, cache=tmp_path)


def test_a_network_of_the_preset_keeps_its_choices() -> None:
    (own,) = (each for each in paper().networks if each.title == "AlexNet")
    assert chosen(paper(), network=["AlexNet"]).networks == (own,)


def test_a_killed_process_says_what_to_do(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost:
        def __init__(self, *_: Any, **__: Any) -> None: ...
        def __enter__(self) -> "Lost":
            return self

        def __exit__(self, *_: object) -> None: ...
        def submit(self, *_: Any) -> Future[str]:
            future: Future[str] = Future()
            future.set_exception(BrokenProcessPool("killed"))
            return future

    monkeypatch.setattr(studies, "ProcessPoolExecutor", Lost)
    with pytest.raises(LostProcess, match="try jobs=2"):
        run(small_grid("ce"), dataset, tmp_path, jobs=4)


def test_a_key_depends_on_data_choices_seed_and_libraries(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys(grid: Grid, **changes: str) -> set[str]:
        cells = grid.cells({"brightness": dataset}, None)
        return {Cell(**(vars(each) | changes)).key for each in cells}

    one = keys(small_grid("ce", seeds=1))
    assert one < keys(small_grid("ce", seeds=2))
    assert one.isdisjoint(keys(small_grid("ce batch_size=16", seeds=1)))
    assert one.isdisjoint(keys(small_grid("ce", seeds=1), fingerprint="other"))
    assert one == keys(small_grid("ce", seeds=1), method="by another name")
    for upgraded in ("torch", "torchvision", "timm"):
        versions = dict.fromkeys(grids.LIBRARIES, "1") | {upgraded: "99"}
        monkeypatch.setattr(grids, "version", versions.__getitem__)
        assert one.isdisjoint(keys(small_grid("ce", seeds=1)))


def test_the_cut_against_cross_entropy(rows: list[Row]) -> None:
    """By hand, from the summary; the paper's by its own Table 1."""
    means = {(line["method"], line["calibrator"]): line["ece"] for line in summary(rows)}
    cut = 100 * (1 - means["dca beta=5", "temperature"] / means["ce", "none"])
    lines = {
        line["method, calibrator"]: line["cut"] for line in by_name(tables(rows))["averages"].lines
    }
    assert lines["dca beta=5, temperature"] == f"{cut:.1f} %"
    assert lines["paper: dca, none"] == "65.7 %"


def test_differences_are_paired_by_seed(rows: list[Row]) -> None:
    """By hand: of two seeds, the t quantile is 12.706 at one degree of freedom."""
    lines = by_name(tables(rows))["paired-brightness-small_conv"].lines
    (line,) = (each for each in lines if each["method, calibrator"] == "dca beta=5, histogram")
    eces = {
        (row["method"], row["seed"]): row["ece"]
        for row in final(rows)
        if row["calibrator"] == "histogram"
    }
    first, second = (eces["dca beta=5", seed] - eces["ce", seed] for seed in (0, 1))
    mean, half = line["ECE"].removesuffix(" points").split(" ± ")
    assert float(mean) == pytest.approx(100 * (first + second) / 2, abs=0.06)
    assert float(half) == pytest.approx(100 * 12.706 * abs(first - second) / 2, abs=0.2)
    assert line["seeds"] == "2"


def test_a_small_half_width_is_not_zero() -> None:
    mean, half = mean_half([0.1, 0.10004])
    assert (mean, half) == (pytest.approx(0.10002), pytest.approx(12.7062 * 0.00002, rel=1e-4))
    assert math.isnan(mean_half([0.1])[1])


def test_invalid_choices_are_refused() -> None:
    for text in ("", "beta=3", "dca quickly", "dca beta="):
        with pytest.raises(BadChoice, match="expected NAME"):
            parse(text)
    for text, place in (
        ("ce seed=21", "seeds are chosen"),
        ("ce loss=dca", "name of the loss"),
        ("x backbone=y", "network"),
    ):
        with pytest.raises(BadChoice, match=place):
            parse(text)
    with pytest.raises(BadChoice, match="epochs"):
        changed({"epochs": 0})


def columns(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0]


def is_picture(path: Path) -> bool:
    with Image.open(path) as image:
        return image.format == "PNG" and image.width > 400


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def test_the_tables_command(home: Path) -> None:
    out = home / "out"
    arguments = shlex.split("experiment compare --preset smoke --method ce --jobs 1")
    arguments += ["--network", f"{SMALL} epochs=1", "--out", str(out)]
    done = candor_here(*arguments)
    assert done.exit_code == 0, done.output
    assert "Table 1, ECE on test: digits, network small_conv, 1 seed\n" in done.stdout
    with (out / "tables" / "ece-digits-small_conv.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert list(row.values()) in [
        re.split(r"  +", line.strip()) for line in done.stdout.splitlines()
    ]
    for name in ("ece", "accuracy", "mce", "averages"):
        (made,) = (out / "tables").glob(f"{name}*.csv")
        published = next((RESULTS / "compare").glob(f"{name}*.csv"))
        assert columns(made) == columns(published)
    later = [*arguments, *["--first-seed", "21", "--seeds", "1", "--json"]]
    assert {row["seed"] for row in json.loads(candor_here(*later).stdout)} == {21}
    assert candor_here("experiment", "compare", "--preset", "none").exit_code == 2


@pytest.mark.parametrize(
    ("number", "methods", "name", "published"),
    [
        (1, ("ce",), "figure1", "curves/curves"),
        (2, ("ce",), "figure2", "embed/embed"),
        (4, ("dca beta=1", "dca beta=25"), "figure4", "curves/curves"),
        (5, ("ce", "dca beta=1"), "figure5-digits-small_conv", f"beta/beta-{PUBLISHED}"),
    ],
)
def test_the_figures_command(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    methods: tuple[str, ...],
    name: str,
    published: str,
) -> None:
    arguments = ["experiment", "figure", str(number), "--network", f"{SMALL} epochs=2"]
    arguments += shlex.split("--data digits --jobs 1 --seeds 1 --out out")
    arguments += [word for method in methods for word in ("--method", method)]
    monkeypatch.chdir(home)
    shown = candor_here(*arguments)
    assert shown.exit_code == 0, shown.output
    assert f"Figure {number}" in shown.stdout
    assert is_picture(home / "out" / f"figure{number}_digits-small_conv.png")
    assert columns(home / "out" / "tables" / f"{name}.csv") == columns(RESULTS / f"{published}.csv")
    with (home / "out" / "rows.csv").open() as stream:
        epochs = [row["epoch"] for row in csv.DictReader(stream)]
    assert epochs.count("2") == (0 if number == 5 else 3 * len(methods))  # splits
    monkeypatch.setattr(studies, "train", lambda *_, **__: pytest.fail("computed again"))
    assert candor_here(*arguments).stdout == shown.stdout


def test_several_heads_have_no_curve(home: Path) -> None:
    arguments = shlex.split("experiment figure 1 --data digits --jobs 1 --method 'ce heads=2'")
    result = candor_here(*arguments, "--network", f"{SMALL} epochs=1", "--out", str(home / "out"))
    assert "one by one" in str(result.exception)


class TestToy:
    def test_cross_entropy_finds_the_truth_where_there_is_enough_of_it(self) -> None:
        curve = learn(parse("ce"), seed=0, labels=2000, epochs=20)
        assert len(curve) == len(POSITIONS)
        assert np.abs(curve - TRUTH).mean() < 0.1

    def test_labels_are_drawn_from_the_truth(self) -> None:
        examples = draw(40_000, seed=0)
        near = np.abs(examples.inputs[:, 0] - 1.0) < 0.05
        assert examples.labels[near].mean() == pytest.approx(0.9, abs=0.03)

    def test_the_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        arguments = shlex.split("experiment figure 3 --method ce --method soft-ece --seeds 2 --out")
        arguments.append(str(tmp_path))
        real = toys.learn
        monkeypatch.setattr(toys, "learn", lambda method, **known: real(method, **known | SHORT))
        shown = candor_here(*arguments)
        assert is_picture(tmp_path / "figure3.png")
        assert columns(tmp_path / "tables" / "figure3.csv") == columns(RESULTS / "toy" / "toy.csv")
        monkeypatch.setattr(toys, "learn", lambda *_, **__: pytest.fail("computed again"))
        found = json.loads(candor_here(*arguments, "--json").stdout)
        off = [row["off_by"] for row in found if row["method"] == "ce"]
        assert re.search(rf"^ce +{100 * np.mean(off):.1f} ± ", shown.stdout, re.MULTILINE)
        assert re.search(r"^soft-ece ", shown.stdout, re.MULTILINE)
        assert candor_here(*arguments).stdout == shown.stdout


SHORT = {"labels": 128, "epochs": 4}
