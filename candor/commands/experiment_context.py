"""What the commands of `candor experiment` share: the grid they compute, the data and runner it
needs, its tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from candor.commands.options import cache_folder, settings

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets import Dataset
    from training.experiments.grid import Grid
    from training.experiments.runner import ExperimentRunner
    from training.experiments.table import ResultTable


@dataclass(frozen=True)
class ExperimentContext:
    """The data sets of a grid by title, the runner that computes its cells, and the folder that
    holds weights.
    """

    datasets: "Mapping[str, Dataset]"
    runner: "ExperimentRunner"
    data_folder: Path | None


@contextmanager
def open_context(grid: "Grid", folder: Path, *, jobs: int) -> Iterator[ExperimentContext]:
    """Read the grid's data sets and show progress bars; name the missing data sets on stderr
    afterwards.

    `folder` keeps cells and tables. Raises DataNotFound if no data set of the grid is available.
    """
    from candor.terminal.console import stderr
    from candor.terminal.progress import bars
    from training.experiments.presets import open_data, require_data
    from training.experiments.runner import ExperimentRunner

    data_folder = settings().data
    with bars() as progress:
        opened = open_data(grid.data, folder=data_folder, cache=cache_folder(), progress=progress)
        require_data(opened)
        runner = ExperimentRunner(folder, cache_folder() / "features", jobs, progress)
        yield ExperimentContext(opened.datasets, runner, data_folder)
    for sentence in opened.absent:
        stderr.print(sentence)


def grid_of(
    preset: str,
    *,
    data: Sequence[str] | None = None,
    network: Sequence[str] | None = None,
    method: Sequence[str] | None = None,
    seeds: int | None = None,
    first_seed: int = 0,
) -> "Grid":
    """The grid of `preset`, with the data sets, networks, methods and seeds that were given in
    place of its own.
    """
    from dataclasses import replace

    from training.experiments.presets import (
        PRESETS,
        data_variant,
        network_variant,
        trained_networks,
    )
    from training.experiments.variant import parse_variant

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


def show_tables(
    tables: "Sequence[ResultTable]",
    folder: Path,
    *,
    notes: Sequence[str] = (),
    markdown: bool = False,
) -> None:
    """Print the tables on stdout and `notes` on stderr; write tables.md and tables/NAME.csv into
    `folder`.
    """
    from candor.terminal.console import stderr, stdout
    from candor.terminal.tables import table

    for sentence in notes:
        stderr.print(sentence)
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text("\n".join(each.markdown() for each in tables))
    for each in tables:
        each.write_csv(folder / "tables")
        if markdown:
            print(each.markdown())  # noqa: T201
            continue
        stdout.print(table(each.title, each.columns, each.rows))
        for note in each.notes:
            stdout.print(note, style="dim")
        stdout.print()
    stderr.print(f"Tables and plots: {folder}")
