"""`candor experiment`: the paper's tables and figures, and the choice of a method."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from candor.commands.options import JsonOption, cache_folder, option, settings
from candor.terminal.console import note, print_json, stdout

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets import Dataset
    from training.experiments.grid import Grid
    from training.experiments.runner import ExperimentRunner
    from training.experiments.table import ResultTable

experiment = typer.Typer(
    name="experiment",
    help="Reproduce the paper's tables and figures, and choose a method for your own data.",
    no_args_is_help=True,
)

OutOption = Annotated[
    Path | None, option("Folder for cells and tables (default: experiments/NAME).")
]
JobsOption = Annotated[int, option("Parallel processes, one thread each.", min=1)]
DataOption = Annotated[
    list[str] | None,
    option("Data set, 'PATH [key=value ...]', instead of the preset's; repeatable."),
]
NetworkOption = Annotated[
    list[str] | None,
    option("Network, 'NAME [key=value ...]', instead of the preset's; repeatable."),
]
MethodOption = Annotated[
    list[str] | None,
    option("Method, 'LOSS [xHEADS] [key=value ...]', instead of the preset's; repeatable."),
]
SeedsOption = Annotated[int | None, option("Number of seeds.", min=1)]
FirstSeedOption = Annotated[int, option("The first seed; the others follow it.", min=0)]
CORES = os.cpu_count() or 1


@experiment.command()
def compare(
    context: typer.Context,
    preset: Annotated[str, option("Grid: smoke, results or paper.")] = "results",
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    json_out: JsonOption = False,
) -> None:
    """Tables 1, 2 and 3: ECE, accuracy and MCE of methods and calibrators over seeds.

    Example: candor experiment compare --preset smoke
    """
    from training.experiments.compare import compare as run_comparison

    grid, folder = grid_of(preset, **_given(context)), _folder(out, preset)
    with _opened(grid, folder, jobs) as inputs:
        found = run_comparison(grid, **inputs)
    found.write(folder)
    if json_out:
        _print_plain(found.as_rows())
    else:
        _show(found.tables(), folder, notes=found.notes)


@experiment.command()
def beta(
    context: typer.Context,
    loss: Annotated[str, option("Loss whose strength varies.")] = "dca",
    betas: Annotated[str, option("Strengths, separated by commas.")] = "1,5,10,15,20,25",
    data: DataOption = None,
    network: NetworkOption = None,
    seeds: SeedsOption = 3,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    json_out: JsonOption = False,
) -> None:
    """Figures 4 and 5: training at four strengths of the auxiliary loss, and ECE by strength.

    Example: candor experiment beta --betas 1,10
    """
    from training.experiments.compare import compare as run_comparison
    from training.experiments.figures import beta_grid, draw_betas, draw_panels, panels_grid, trace

    grid = beta_grid(grid_of("beta", **_given(context)), loss=loss, betas=_numbers(betas))
    folder = _folder(out, "beta")
    with _opened(grid, folder, jobs) as inputs:
        found = run_comparison(grid, **inputs)
        traces, _ = trace(panels_grid(grid), **inputs)
    found.write(folder)
    draw_panels(traces, folder)
    _show(
        draw_betas(found, grid, folder),
        folder,
        notes=found.notes,
        json_out=json_out,
    )


@experiment.command()
def curves(
    context: typer.Context,
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = 1,
    first_seed: FirstSeedOption = 0,
    epochs: Annotated[int, option("Epochs, enough to overfit.", min=1)] = 40,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    json_out: JsonOption = False,
) -> None:
    """Figure 1: how cross-entropy and DCA overfit, epoch by epoch, at a constant learning rate.

    Example: candor experiment curves --epochs 20
    """
    from training.experiments.figures import draw_curves, trace

    grid = grid_of("curves", **_given(context)).with_changes(epochs=epochs, decay="none")
    folder = _folder(out, "curves")
    with _opened(grid, folder, jobs) as inputs:
        traces, notes = trace(grid, **inputs)
    _show(draw_curves(traces, folder), folder, notes=notes, json_out=json_out)


@experiment.command()
def embed(
    context: typer.Context,
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = 3,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    json_out: JsonOption = False,
) -> None:
    """Figure 2: t-SNE of the features of two methods, and how they separate the classes.

    Example: candor experiment embed --seeds 1
    """
    from training.experiments.figures import draw_embeddings, trace

    grid, folder = grid_of("embed", **_given(context)), _folder(out, "embed")
    with _opened(grid, folder, jobs) as inputs:
        traces, notes = trace(grid, **inputs)
    tables = draw_embeddings(traces, inputs["datasets"], folder)
    _show(tables, folder, notes=notes, json_out=json_out)


@experiment.command()
def toy(
    method: MethodOption = None,
    seeds: Annotated[int, option("Number of seeds.", min=1)] = 5,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    json_out: JsonOption = False,
) -> None:
    """Figure 3: what each method learns of a known probability in one dimension.

    Example: candor experiment toy --seeds 2
    """
    from candor.terminal.progress import bars
    from training.experiments.grid import parse_variant
    from training.experiments.presets import MEASURED
    from training.experiments.toy import toy as run_toy

    folder = _folder(out, "toy")
    methods = tuple(map(parse_variant, method or ())) or MEASURED
    with bars() as progress:
        tables = run_toy(methods, range(first_seed, first_seed + seeds), folder, progress=progress)
    _show(tables, folder, json_out=json_out)


@experiment.command()
def select(
    context: typer.Context,
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    first_seed: FirstSeedOption = 0,
    accuracy_loss: Annotated[
        float, option("Accuracy that a choice may lose on validation.")
    ] = 0.01,
    nll_share: Annotated[float, option("Share by which the NLL of a choice may be higher.")] = 0.05,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    json_out: JsonOption = False,
) -> None:
    """Choose method, strength and calibrator by validation alone, with its certainty.

    Example: candor experiment select --data images --seeds 3
    """
    from training.experiments.choice import Limits
    from training.experiments.select import recipe_grids
    from training.experiments.select import select as run_selection
    from training.experiments.table import write_csv

    grid, folder = grid_of("select", **_given(context)), _folder(out, "select")
    with _opened(grid, folder, jobs) as inputs:
        datasets, data_folder = inputs["datasets"], inputs["data_folder"]
        grids = recipe_grids(grid, datasets, data_folder)
        cells = [cell for each in grids for cell in each.cells(datasets, data_folder)]
        results, notes = inputs["runner"].run(cells, datasets)
    found = run_selection(results, limits=Limits(accuracy_loss, nll_share))
    rows = [row for each in found for row in each.as_rows()]
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "selection.csv", rows)
    if json_out:
        _print_plain(rows)
    else:
        _show([each.table() for each in found], folder, notes=notes)


class _Inputs(TypedDict):
    """What cells are computed with: `datasets` by title; `data_folder` has weights."""

    datasets: "Mapping[str, Dataset]"
    runner: "ExperimentRunner"
    data_folder: Path | None


@contextmanager
def _opened(grid: "Grid", folder: Path, jobs: int) -> Iterator[_Inputs]:
    """Read the grid's data sets, show progress, and name missing data sets on stderr at the end.

    Raises DataNotFound if no data set of the grid is available.
    """
    from candor.terminal.progress import bars
    from training.experiments.presets import open_data
    from training.experiments.runner import ExperimentRunner

    data_folder = settings().data
    with bars() as progress:
        opened = open_data(grid.data, folder=data_folder, cache=cache_folder(), progress=progress)
        runner = ExperimentRunner(folder, cache_folder() / "features", jobs, progress)
        yield {"datasets": opened.datasets, "runner": runner, "data_folder": data_folder}
    for sentence in opened.absent:
        note(sentence)


def _given(context: typer.Context) -> dict[str, Any]:
    """Return the options of a command that change its grid."""
    options = ("data", "network", "method", "seeds", "first_seed")
    return {name: context.params[name] for name in options if name in context.params}


def grid_of(
    preset: str,
    *,
    data: Sequence[str] | None = None,
    network: Sequence[str] | None = None,
    method: Sequence[str] | None = None,
    seeds: int | None = None,
    first_seed: int = 0,
) -> "Grid":
    """Return the grid of `preset`, with what was given in place of its own."""
    from training.experiments.grid import parse_variant
    from training.experiments.presets import (
        PRESETS,
        data_variant,
        network_variant,
        trained_networks,
    )

    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset {preset!r}; choose one of: {', '.join(PRESETS)}")
    grid = PRESETS[preset]()
    chosen = tuple(map(data_variant, data)) if data else grid.data
    return replace(
        grid,
        data=chosen,
        networks=tuple(map(network_variant, network))
        if network
        else trained_networks(chosen, grid.networks),
        methods=tuple(map(parse_variant, method)) if method else grid.methods,
        seeds=tuple(range(first_seed, first_seed + (seeds or len(grid.seeds)))),
    )


def _show(
    tables: "Sequence[ResultTable]",
    folder: Path,
    *,
    notes: Sequence[str] = (),
    json_out: bool = False,
) -> None:
    """Print tables and `notes`; write tables.md and tables/NAME.csv into `folder`."""
    from candor.terminal.tables import FigureTable

    for sentence in notes:
        note(sentence)
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text("\n".join(each.markdown() for each in tables))
    for each in tables:
        each.write_csv(folder / "tables")
    if json_out:
        _print_plain([{"title": each.title, "rows": each.values} for each in tables])
    for each in () if json_out else tables:
        stdout.print(FigureTable(each.title, each.columns, each.rows))
        for sentence in each.notes:
            stdout.print(sentence, style="dim")
        stdout.print()
    note(f"Tables and plots: {folder}")


def _print_plain(rows: Sequence[object]) -> None:
    """Print rows as JSON, with null where a method failed."""
    from monitoring.http.json_body import plain

    print_json(plain(rows))


def _folder(out: Path | None, name: str) -> Path:
    return out or Path("experiments") / name


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; write numbers separated by commas, as in 1,5,10"
        ) from error
