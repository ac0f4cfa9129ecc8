"""A small comparison from images to tables: computed once, resumed, reported completely."""

import csv
import json
import shlex
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candor.commands.experiments import grid_of
from candor.commands.train_choices import chosen_config
from tests.builders.datasets import labeled, shades
from tests.builders.processes import candor_here
from training.datasets import Dataset
from training.errors import BadChoice, LostProcess, TrainingDiverged, WeightsNotFound
from training.experiments import cell as cells
from training.experiments import runner as runner_module
from training.experiments.cell import Cell
from training.experiments.compare import GridComparison, compare
from training.experiments.grid import Grid, Variant, changed, parse_variant
from training.experiments.presets import network_variant
from training.experiments.runner import ExperimentRunner
from training.experiments.select import recipe_grids
from training.networks.backbones import SMALL
from training.runs.config import TrainConfig
from training.runs.recipe import automatic


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return shades(("dark", "bright"), (64, 40, 40), spread=0.0, noise=70.0)


def small_grid(*methods: str, seeds: int = 2) -> Grid:
    return Grid(
        data=(Variant("brightness", "brightness"),),
        networks=(network_variant(f"{SMALL} epochs=2"),),
        methods=tuple(map(parse_variant, methods)),
        seeds=tuple(range(seeds)),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment")


@pytest.fixture(scope="module")
def compared(dataset: Dataset, folder: Path) -> GridComparison:
    runner = ExperimentRunner(folder, folder / "cache")  # `make test-smoke` has several processes
    return compare(
        small_grid("ce", "dca beta=5"), {"brightness": dataset}, runner, data_folder=None
    )


def test_the_figures_are_those_of_the_runs(compared: GridComparison, folder: Path) -> None:
    """Against metrics.json, which each run wrote itself."""
    known: dict[str, list[float]] = {}
    for path in (folder / "cells").glob("*/metrics.json"):
        about = json.loads((path.parent / "cell.json").read_text())
        splits = json.loads(path.read_text())["splits"]
        known.setdefault(about["method"], []).append(next(iter(splits["test"].values()))["ece"])
    for line in compared.summaries:
        if line.calibrator == "none":
            assert line.figures["ece"].mean == pytest.approx(np.mean(known[line.method]))


def test_a_second_call_computes_nothing(
    compared: GridComparison, dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "train_cell", lambda *_, **__: pytest.fail("computed again"))
    runner = ExperimentRunner(folder, folder / "cache")
    again = compare(
        small_grid("ce", "dca beta=5"), {"brightness": dataset}, runner, data_folder=None
    )
    # an undefined figure, NaN, equals no other
    assert json.dumps(again.as_rows()) == json.dumps(compared.as_rows())


def test_an_interrupted_grid_keeps_what_is_done(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, real = small_grid("ce", seeds=3), cells.train_cell
    runner = ExperimentRunner(tmp_path, tmp_path / "cache")
    wanted = grid.cells({"brightness": dataset}, None)

    def interrupted(cell: Cell, dataset: Dataset, *, cache: Path) -> Any:
        if cell.config.seed == 1:
            raise KeyboardInterrupt
        return real(cell, dataset, cache=cache)

    monkeypatch.setattr(cells, "train_cell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run(wanted, {"brightness": dataset})
    assert sorted(path.name for path in (tmp_path / "cells").iterdir()) == [wanted[0].key]
    monkeypatch.setattr(cells, "train_cell", real)
    assert len(runner.run(wanted, {"brightness": dataset})[0]) == 3


def test_a_diverged_run_is_reported_and_not_repeated(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def diverging(cell: Cell, *_: Any, **__: Any) -> None:
        tried.append(cell.config.loss)
        raise TrainingDiverged(epoch=1, loss=float("nan"), learning_rate=1.0)

    monkeypatch.setattr(cells, "train_cell", diverging)
    runner = ExperimentRunner(tmp_path, tmp_path / "cache")
    for _ in range(2):
        found = compare(
            small_grid("dca", seeds=1), {"brightness": dataset}, runner, data_folder=None
        )
    assert tried == ["dca"]
    (first, *_) = found.tables()
    assert "dca (1 failed)" in first.rows[0][0]
    assert "failed" in first.rows[0][2]
    assert any("lower the learning rate" in note for note in first.notes)


def test_a_network_without_weights_is_left_out_and_reported(
    dataset: Dataset, tmp_path: Path
) -> None:
    grid = small_grid("ce", seeds=1)
    lost = Variant("lost", SMALL, {"weights": tmp_path / "nowhere.safetensors"})
    runner = ExperimentRunner(tmp_path, tmp_path / "cache")
    both = Grid(data=grid.data, networks=(*grid.networks, lost), methods=grid.methods, seeds=(0,))
    results, notes = runner.run(both.cells({"brightness": dataset}, None), {"brightness": dataset})
    assert [result.cell.network for result in results] == [SMALL]
    assert len(notes) == 1
    assert "brightness with lost" in notes[0]
    alone = Grid(data=grid.data, networks=(lost,), methods=grid.methods, seeds=(0,))
    with pytest.raises(WeightsNotFound):
        runner.run(alone.cells({"brightness": dataset}, None), {"brightness": dataset})


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

    monkeypatch.setattr(runner_module, "ProcessPoolExecutor", Lost)
    grid = small_grid("ce")
    with pytest.raises(LostProcess, match="try --jobs 2"):
        ExperimentRunner(tmp_path, tmp_path / "cache", jobs=4).run(
            grid.cells({"brightness": dataset}, None), {"brightness": dataset}
        )


def test_the_first_of_two_that_compute_one_cell_stays(tmp_path: Path) -> None:
    with cells.new_folder(tmp_path / "cell") as slow:
        (slow / "who").write_text("slow")
        with cells.new_folder(tmp_path / "cell") as fast:
            (fast / "who").write_text("fast")
    assert (tmp_path / "cell" / "who").read_text() == "fast"
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_a_key_depends_on_data_choices_and_seed(dataset: Dataset) -> None:
    def keys(grid: Grid, **changes: str) -> set[str]:
        return {
            Cell(**(each.__dict__ | changes)).key
            for each in grid.cells({"brightness": dataset}, None)
        }

    one = keys(small_grid("ce", seeds=1))
    assert one < keys(small_grid("ce", seeds=2))
    assert one.isdisjoint(keys(small_grid("ce batch_size=16", seeds=1)))
    assert one.isdisjoint(keys(small_grid("ce", seeds=1), fingerprint="other"))
    assert one == keys(small_grid("ce", seeds=1), method="by another name")


def test_the_files(compared: GridComparison, tmp_path: Path) -> None:
    compared.write(tmp_path)
    text = "\n".join(table.markdown() for table in compared.tables())
    assert "| ce |" in text
    assert "| dca beta=5 |" in text
    assert "65.7 %³" in text
    with (tmp_path / "summary.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(compared.summaries)
    with (tmp_path / "cells.csv").open() as stream:
        assert {row["seed"] for row in csv.DictReader(stream)} == {"0", "1"}


def test_the_cut_against_cross_entropy(compared: GridComparison) -> None:
    """By hand, from the summaries."""
    means = {
        (line.method, line.calibrator): line.figures["ece"].mean for line in compared.summaries
    }
    cut = 100 * (1 - means["dca beta=5", "temperature"] / means["ce", "none"])
    rows = {row[0]: row for row in compared.tables()[-1].rows}
    assert rows["dca beta=5, temperature"][2] == f"{cut:.1f} %"


def test_differences_are_paired_by_seed(compared: GridComparison) -> None:
    """By hand: of two seeds, the t quantile is 12.706 at one degree of freedom."""
    (table,) = (each for each in compared.tables() if each.name.startswith("paired"))
    assert [row[0] for row in table.rows][:2] == ["dca beta=5, none", "dca beta=5, temperature"]
    by_method: dict[str, dict[int, float]] = {}
    for result in compared.results:
        logits, labels = result.predictions["test"].logits, result.predictions["test"].labels
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        by_method.setdefault(result.cell.method, {})[result.cell.config.seed] = accuracy
    first, second = (by_method["dca beta=5"][seed] - by_method["ce"][seed] for seed in (0, 1))
    half = 12.706 * abs(first - second) / 2
    mean, shown = table.rows[0][3].removesuffix(" points").split(" ± ")
    assert float(mean) == pytest.approx(100 * (first + second) / 2, abs=0.06)
    assert float(shown) == pytest.approx(100 * half, abs=0.2)
    assert table.rows[0][1] == "2"


def test_invalid_choices_are_refused() -> None:
    base = small_grid("ce").base
    for text in ("", "beta=3", "dca quickly"):
        with pytest.raises(BadChoice, match=r"expected|name"):
            parse_variant(text)
    for text, place in (
        ("ce seed=21", "--first-seed"),
        ("ce loss=dca", "name of the loss"),
        ("x backbone=y", "network"),
    ):
        with pytest.raises(BadChoice, match=place):
            parse_variant(text)
    with pytest.raises(BadChoice, match="epochs"):
        changed(base, {"epochs": 0})
    assert changed(base, {"epochs": 3}, {"epochs": 4}).epochs == 4


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    arguments = shlex.split("experiment compare --preset smoke --method ce --jobs 1")
    arguments += ["--network", f"{SMALL} epochs=1", "--out", str(tmp_path / "out")]
    done = candor_here(*arguments)
    assert done.exit_code == 0, done.output
    shown = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert "**Table 1, ECE on test: digits, network small_conv, 1 seed**" in shown
    with (tmp_path / "out" / "tables" / "ece-digits-small_conv.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert f"| {' | '.join(row.values())} |" in shown
    for name in ("ece", "accuracy", "mce", "averages"):
        (made,) = (tmp_path / "out" / "tables").glob(f"{name}*.csv")
        (published, *_) = (Path(__file__).parents[3] / "docs" / "results" / "compare").glob(
            f"{name}*.csv"
        )
        # The grid of the page has perturbed validation images as well.
        wanted = published.read_text(encoding="utf-8").splitlines()[0].removesuffix(",perturbed")
        assert made.read_text(encoding="utf-8").splitlines()[0] == wanted
    later = [*arguments, *["--first-seed", "21", "--seeds", "1", "--json"]]
    assert {row["method"] for row in json.loads(candor_here(*later).stdout)} == {"ce"}
    with (tmp_path / "out" / "cells.csv").open() as stream:
        assert {row["seed"] for row in csv.DictReader(stream)} == {"21"}
    assert candor_here("experiment", "compare", "--preset", "none").exit_code == 2


@pytest.mark.parametrize("counts", [(60, 60), (1500, 1500), (4000, 4000), (200, 10)], ids=str)
@pytest.mark.parametrize(
    "method", ["dca", "focal gamma=2", "ce clip_norm=1", "ce epochs=7 head=paper"]
)
def test_select_measures_the_networks_that_train_would_train(
    counts: tuple[int, ...], method: str
) -> None:
    dataset, wanted = labeled(*counts), parse_variant(method)
    fields = {
        name: value for name, value in wanted.changes.items() if name in TrainConfig.model_fields
    }
    choices = {"loss": wanted.subject} | fields
    if "gamma" in wanted.changes:
        choices["loss_options"] = {"gamma": wanted.changes["gamma"]}
    trained = automatic(dataset, chosen_config(choices, digits=False), given=choices).candidates
    grid = grid_of("select", data=["some/folder"], method=[method], seeds=1)
    (found,) = recipe_grids(grid, {"folder": dataset}, None)
    measured = [cell.config for cell in found.cells({"folder": dataset}, None)]
    assert [each.model_dump(exclude={"weights"}) for each in measured] == [
        each.model_dump(exclude={"weights"}) for each in trained
    ]
    assert found.methods[0].title == method
    assert len({each.title for each in found.methods}) == len(trained)


def test_select_measures_the_network_of_the_digits() -> None:
    grid = grid_of("select", data=["digits"])
    (found,) = recipe_grids(grid, {"digits": labeled(50, 50)}, None)
    measured = found.config(
        found.data[0], found.networks[0], parse_variant("dca"), seed=0, folder=None
    )
    trained = chosen_config({}, digits=True)
    assert measured.model_dump(exclude={"weights"}) == trained.model_dump(exclude={"weights"})
