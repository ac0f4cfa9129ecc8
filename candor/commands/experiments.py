"""`candor experiment`: the paper's tables and figures."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from candor.commands.options import JsonOption, argument, cache_folder, option, settings
from candor.terminal.console import note, print_json, stdout

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets import Dataset
    from training.experiments.grid import Cell, Grid
    from training.experiments.study import Row, Study
    from training.experiments.tables import Table

experiment = typer.Typer(
    name="experiment",
    help="Reproduce the paper's tables and figures, on its data or on your own.",
    no_args_is_help=True,
)

OutOption = Annotated[Path | None, option("Folder for results (default: experiments/NAME).")]
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
    option("Method, 'LOSS [key=value ...]', instead of the preset's; repeatable."),
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
    from training.experiments.presets import PRESETS, chosen
    from training.experiments.tables import summary, tables, write_rows

    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset {preset!r}; choose one of: {', '.join(PRESETS)}")
    folder = out or Path("experiments") / preset
    with _computed(chosen(PRESETS[preset](), **_given(context)), folder, jobs) as found:
        write_rows(folder / "summary.csv", summary(found.rows))
        _show(tables(found.rows), found.rows, folder, json_out=json_out)


@experiment.command()
def figure(
    context: typer.Context,
    number: Annotated[int, argument("Number of the figure in the paper.", min=1, max=5)],
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    json_out: JsonOption = False,
) -> None:
    """Figures 1 to 5: 1 overfitting, 2 features, 3 a known probability, 4 and 5 DCA's strength.

    Figure 3 has data and a network of its own.

    Example: candor experiment figure 5 --seeds 1
    """
    from training.experiments import figures
    from training.experiments.presets import chosen, of_figure

    grid = chosen(of_figure(number), **_given(context))
    folder = out or Path("experiments") / f"figure{number}"
    if number == 3:
        _draw_toy(grid, folder, json_out=json_out)
        return
    with _computed(grid, folder, jobs) as found:
        if number == 2:
            drawn = [figures.embeddings(found.cells, found.study, found.datasets, folder)]
        elif number == 5:
            strength = {each.title: each.changes.get("beta") for each in grid.methods}
            drawn = figures.betas(found.rows, strength, folder)
        else:
            drawn = [figures.epochs(number, found.rows, folder)]
        _show(drawn, found.rows, folder, json_out=json_out)


def _draw_toy(grid: "Grid", folder: Path, *, json_out: bool) -> None:
    from candor.terminal.progress import bars
    from training.experiments.toy import toy

    with bars() as progress:
        rows, table = toy(grid.methods, grid.seeds, folder, progress=progress)
    _show([table], rows, folder, json_out=json_out)


class _Computed(NamedTuple):
    """The cells of a grid on the available data, and their rows."""

    rows: "list[Row]"
    cells: "list[Cell]"
    study: "Study"
    datasets: "Mapping[str, Dataset]"


@contextmanager
def _computed(grid: "Grid", folder: Path, jobs: int) -> Iterator[_Computed]:
    """Compute a grid with progress; name what was left out on stderr at the end.

    Raises DataNotFound if no data set of the grid is available.
    """
    from candor.terminal.progress import bars
    from training.experiments.presets import open_data
    from training.experiments.study import Study

    data_folder = settings().data
    with bars() as progress:
        opened = open_data(grid.data, folder=data_folder, cache=cache_folder(), progress=progress)
        study = Study(folder / "cells", cache_folder() / "features", jobs, progress)
        cells = grid.cells(opened.datasets, data_folder)
        rows, notes = study.rows(cells, opened.datasets)
    yield _Computed(rows, cells, study, opened.datasets)
    for sentence in (*opened.absent, *notes):
        note(sentence)


def _given(context: typer.Context) -> dict[str, Any]:
    """The options of a command that change its grid."""
    options = ("data", "network", "method", "seeds", "first_seed")
    return {name: context.params[name] for name in options}


def _show(
    tables: "Sequence[Table]", rows: "Sequence[Row]", folder: Path, *, json_out: bool
) -> None:
    """Print the tables, or the rows as JSON; write rows.csv, tables.md and tables/NAME.csv."""
    from candor.terminal.tables import FigureTable
    from monitoring.http.json_body import plain
    from training.experiments.tables import write_rows

    (folder / "tables").mkdir(parents=True, exist_ok=True)
    write_rows(folder / "rows.csv", rows)
    (folder / "tables.md").write_text("\n".join(each.markdown() for each in tables))
    for each in tables:
        each.write_csv(folder / "tables")
    if json_out:
        print_json(plain(rows))  # with null where a method failed
    for each in () if json_out else tables:
        stdout.print(FigureTable(each.title, each.columns, each.cells()))
        for sentence in each.notes:
            stdout.print(sentence, style="dim")
        stdout.print()
    note(f"Tables and plots: {folder}")
