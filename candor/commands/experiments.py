"""`candor experiment`: the paper's tables and figures."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from rich.console import RenderableType

from candor.commands.options import Within, WrongUse, cache_folder, settings
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets import Dataset
    from training.experiments.grid import Cell, Grid
    from training.experiments.study import Row, Study
    from training.experiments.tables import Table

CORES = os.cpu_count() or 1


def compare(
    *,
    preset: str = "results",
    data: Sequence[str] = (),
    network: Sequence[str] = (),
    method: Sequence[str] = (),
    seeds: Annotated[int | None, Within(1, None)] = None,
    first_seed: Annotated[int, Within(0, None)] = 0,
    out: Path | None = None,
    jobs: Annotated[int, Within(1, None)] = CORES,
) -> PlainResult:
    """Tables 1, 2 and 3: ECE, accuracy and MCE of methods and calibrators over seeds.

    Example: candor experiment compare --preset smoke

    Args:
        preset: Grid: smoke, results or paper.
        data: Data set, 'PATH [key=value ...]', instead of the preset's; repeatable.
        network: Network, 'NAME [key=value ...]', instead of the preset's; repeatable.
        method: Method, 'LOSS [key=value ...]', instead of the preset's; repeatable.
        seeds: Number of seeds.
        first_seed: The first seed; the others follow it.
        out: Folder for results (default: experiments/NAME).
        jobs: Parallel processes, one thread each.
    """
    from training.experiments.presets import PRESETS, chosen
    from training.experiments.tables import summary, tables, write_rows

    if preset not in PRESETS:
        raise WrongUse(f"unknown preset {preset!r}; choose one of: {', '.join(PRESETS)}")
    grid = chosen(
        PRESETS[preset](),
        data=data,
        network=network,
        method=method,
        seeds=seeds,
        first_seed=first_seed,
    )
    folder = out or Path("experiments") / preset
    with _computed(grid, folder, jobs) as found:
        write_rows(folder / "summary.csv", summary(found.rows))
        return _shown(tables(found.rows), found.rows, folder)


def figure(
    number: Annotated[int, Within(1, 5)],
    *,
    data: Sequence[str] = (),
    network: Sequence[str] = (),
    method: Sequence[str] = (),
    seeds: Annotated[int | None, Within(1, None)] = None,
    first_seed: Annotated[int, Within(0, None)] = 0,
    out: Path | None = None,
    jobs: Annotated[int, Within(1, None)] = CORES,
) -> PlainResult:
    """Figures 1 to 5: 1 overfitting, 2 features, 3 a known probability, 4 and 5 DCA's strength.

    Figure 3 has data and a network of its own.

    Example: candor experiment figure 5 --seeds 1

    Args:
        number: Number of the figure in the paper.
        data: Data set, 'PATH [key=value ...]', instead of the preset's; repeatable.
        network: Network, 'NAME [key=value ...]', instead of the preset's; repeatable.
        method: Method, 'LOSS [key=value ...]', instead of the preset's; repeatable.
        seeds: Number of seeds.
        first_seed: The first seed; the others follow it.
        out: Folder for results (default: experiments/NAME).
        jobs: Parallel processes, one thread each.
    """
    from training.experiments import figures
    from training.experiments.presets import chosen, of_figure

    grid = chosen(
        of_figure(number),
        data=data,
        network=network,
        method=method,
        seeds=seeds,
        first_seed=first_seed,
    )
    folder = out or Path("experiments") / f"figure{number}"
    if number == 3:
        return _draw_toy(grid, folder)
    with _computed(grid, folder, jobs) as found:
        if number == 2:
            drawn = [figures.embeddings(found.cells, found.study, found.datasets, folder)]
        elif number == 5:
            strength = {each.title: each.changes.get("beta") for each in grid.methods}
            drawn = figures.betas(found.rows, strength, folder)
        else:
            drawn = [figures.epochs(number, found.rows, folder)]
        return _shown(drawn, found.rows, folder)


def _draw_toy(grid: "Grid", folder: Path) -> PlainResult:
    from candor.terminal.progress import bars
    from training.experiments.toy import toy

    with bars() as progress:
        rows, table = toy(grid.methods, grid.seeds, folder, progress=progress)
    return _shown([table], rows, folder)


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


def _shown(tables: "Sequence[Table]", rows: "Sequence[Row]", folder: Path) -> PlainResult:
    """Write rows.csv, tables.md and tables/NAME.csv; return the tables."""
    from candor.terminal.tables import FigureTable
    from monitoring.http.json_body import plain
    from training.experiments.tables import write_rows

    (folder / "tables").mkdir(parents=True, exist_ok=True)
    write_rows(folder / "rows.csv", rows)
    (folder / "tables.md").write_text("\n".join(each.markdown() for each in tables))
    parts: list[RenderableType] = []
    for each in tables:
        each.write_csv(folder / "tables")
        parts.append(FigureTable(each.title, each.columns, each.cells()))
        parts += [*each.notes, ""]
    note(f"Tables and plots: {folder}")
    return PlainResult(plain(rows), *parts)  # with null where a method failed
