"""`candor experiment`: the paper's tables and figures."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict, Unpack

from calibration.document import FigureTable, Part
from candor.commands.options import Within, WrongUse, cache_folder, settings, unused
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult
from training.load_options import LoadOption

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.experiments.grid import Grid
    from training.experiments.study import Row
    from training.experiments.tables import Table

CORES = os.cpu_count() or 1
CELLS = "cells"  # the folder of what is kept, in that of results


class GridOptions(TypedDict, total=False):
    """In place of the preset's."""

    data: Annotated[
        Sequence[str],
        LoadOption("Data set, 'PATH [key=value ...]', instead of the preset's; repeatable.", ()),
    ]
    network: Annotated[
        Sequence[str],
        LoadOption("Network, 'NAME [key=value ...]', instead of the preset's; repeatable.", ()),
    ]
    method: Annotated[
        Sequence[str],
        LoadOption("Method, 'LOSS [key=value ...]', instead of the preset's; repeatable.", ()),
    ]
    seeds: Annotated[int | None, LoadOption("Number of seeds.", within=(1, None))]
    first_seed: Annotated[
        int, LoadOption("The first seed; the others follow it.", 0, within=(0, None))
    ]


def compare(
    *,
    preset: str = "results",
    out: Path | None = None,
    jobs: Annotated[int, Within(1, None)] = CORES,
    **options: Unpack[GridOptions],
) -> PlainResult:
    """Tables 1, 2 and 3: ECE, accuracy and MCE of methods and calibrators over seeds.

    Example: candor experiment compare --preset smoke

    Args:
        preset: Grid: smoke, results or paper.
        out: Folder for results (default: experiments/NAME).
        jobs: Parallel processes, one thread each.
    """
    from training.experiments.presets import PRESETS, chosen
    from training.experiments.tables import summary, tables, write_rows

    if preset not in PRESETS:
        raise WrongUse(f"unknown preset {preset!r}; choose one of: {', '.join(PRESETS)}")
    grid = chosen(PRESETS[preset](), **options)
    folder = out or Path("experiments") / preset
    rows = _rows(grid, folder, jobs)
    write_rows(folder / "summary.csv", summary(rows))
    return _shown(tables(rows), rows, folder)


def figure(
    number: Annotated[int, Within(1, 5)],
    *,
    out: Path | None = None,
    jobs: Annotated[int, Within(1, None)] = CORES,
    **options: Unpack[GridOptions],
) -> PlainResult:
    """Figures 1 to 5: 1 overfitting, 2 features, 3 a known probability, 4 and 5 DCA's strength.

    Figure 3 has data and a network of its own.

    Example: candor experiment figure 5 --seeds 1

    Args:
        number: Number of the figure in the paper.
        out: Folder for results (default: experiments/NAME).
        jobs: Parallel processes, one thread each.
    """
    from training.experiments import figures
    from training.experiments.presets import chosen, of_figure

    if number == 3:
        unused(
            "figure 3 has data and a network of its own, and takes one process",
            data=options.get("data") or None,
            network=options.get("network") or None,
            jobs=None if jobs == CORES else jobs,
        )
    grid = chosen(of_figure(number), **options)
    folder = out or Path("experiments") / f"figure{number}"
    if number == 3:
        return _toy(grid, folder)
    rows = _rows(grid, folder, jobs)
    if number == 2:
        drawn = figures.embeddings(rows, folder / CELLS, folder)
    elif number == 5:
        drawn = figures.betas(rows, folder)
    else:
        drawn = figures.epochs(number, rows, folder)
    return _shown(drawn, rows, folder)


def _toy(grid: "Grid", folder: Path) -> PlainResult:
    from candor.terminal.progress import bars
    from training.experiments.toy import toy

    with bars() as progress:
        rows, table = toy(grid.methods, grid.seeds, folder, progress=progress)
    return _shown([table], rows, folder)


def _rows(grid: "Grid", folder: Path, jobs: int) -> "list[Row]":
    """The rows of a grid, computed with progress. Raises what loading and training raise."""
    from candor.terminal.progress import bars
    from training.experiments.presets import open_data
    from training.experiments.study import Study

    data_folder, cache = settings().data, cache_folder()
    with bars() as progress:
        datasets = open_data(grid.data, folder=data_folder, cache=cache, progress=progress)
        study = Study(folder / CELLS, cache / "features", jobs, progress)
        return study.rows(grid.cells(datasets, data_folder), datasets)


def _shown(tables: "Sequence[Table]", rows: "Sequence[Row]", folder: Path) -> PlainResult:
    """Write rows.csv and tables/NAME.csv; return the tables."""
    from monitoring.http.json_body import plain
    from training.experiments.tables import write_rows

    (folder / "tables").mkdir(parents=True, exist_ok=True)
    write_rows(folder / "rows.csv", rows)
    parts: list[Part] = []
    for each in tables:
        each.write_csv(folder / "tables")
        parts.append(FigureTable(each.title, each.columns, each.cells()))
        parts += each.notes
    note(f"Tables and plots: {folder}")
    return PlainResult(plain(rows), *parts)  # with null where a method failed
