"""`candor experiment`: the paper's tables and figures, and the choice of a method. Every command
can be resumed.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import JsonOption, cache_folder, settings

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
    Path | None, typer.Option(help="Folder for cells and tables (default: experiments/NAME).")
]
JobsOption = Annotated[int, typer.Option(min=1, help="Parallel processes, one thread each.")]
DataOption = Annotated[
    list[str] | None,
    typer.Option(help="Data set, 'PATH [key=value ...]', instead of the preset's; repeatable."),
]
NetworkOption = Annotated[
    list[str] | None,
    typer.Option(help="Network, 'NAME [key=value ...]', instead of the preset's; repeatable."),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Method, 'LOSS [xHEADS] [key=value ...]', instead of the preset's; repeatable."
    ),
]
SeedsOption = Annotated[int | None, typer.Option(min=1, help="Number of seeds.")]
FirstSeedOption = Annotated[int, typer.Option(min=0, help="The first seed; the others follow it.")]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")]
CORES = os.cpu_count() or 1


@experiment.command()
def compare(
    preset: Annotated[str, typer.Option(help="Grid: smoke, results or paper.")] = "results",
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
    json_out: JsonOption = False,
) -> None:
    """Tables 1, 2 and 3: ECE, accuracy and MCE of methods and calibrators over seeds, beside the
    paper's figures.

    Example: candor experiment compare --preset smoke
    """
    from candor.terminal.console import print_json
    from training.experiments.compare import compare as run_comparison

    grid = grid_of(
        preset, data=data, network=network, method=method, seeds=seeds, first_seed=first_seed
    )
    with _context(grid, preset, out=out, jobs=jobs) as context:
        found = run_comparison(
            grid, context.datasets, context.runner, data_folder=context.data_folder
        )
    found.write(context.folder)
    if json_out:
        print_json(found.as_rows())
        return
    _show(found.tables(), context.folder, notes=found.notes, markdown=markdown)


@experiment.command()
def beta(
    loss: Annotated[str, typer.Option(help="Loss whose strength varies.")] = "dca",
    betas: Annotated[str, typer.Option(help="Strengths, separated by commas.")] = "1,5,10,15,20,25",
    data: DataOption = None,
    network: NetworkOption = None,
    seeds: SeedsOption = 3,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
) -> None:
    """Figures 4 and 5: training at four strengths of the auxiliary loss, and ECE by strength.

    Example: candor experiment beta --betas 1,10
    """
    from training.experiments.compare import compare as run_comparison
    from training.experiments.figures import beta_grid, draw_betas, draw_panels, panels_grid, trace

    grid = beta_grid(
        grid_of("beta", data=data, network=network, seeds=seeds, first_seed=first_seed),
        loss=loss,
        betas=_numbers(betas),
    )
    with _context(grid, "beta", out=out, jobs=jobs) as context:
        known = (context.datasets, context.runner)
        found = run_comparison(grid, *known, data_folder=context.data_folder)
        traces, _ = trace(panels_grid(grid), *known, data_folder=context.data_folder)
    found.write(context.folder)
    draw_panels(traces, context.folder)
    tables = draw_betas(found, grid, context.folder)
    _show(tables, context.folder, notes=found.notes, markdown=markdown)


@experiment.command()
def curves(
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = 1,
    first_seed: FirstSeedOption = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs, enough to overfit.")] = 40,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
) -> None:
    """Figure 1: how cross-entropy and DCA overfit, epoch by epoch, at a constant learning rate.

    Example: candor experiment curves --epochs 20
    """
    from training.experiments.figures import draw_curves, trace

    grid = grid_of(
        "curves", data=data, network=network, method=method, seeds=seeds, first_seed=first_seed
    ).with_changes(epochs=epochs, decay="none")
    with _context(grid, "curves", out=out, jobs=jobs) as context:
        traces, notes = trace(
            grid, context.datasets, context.runner, data_folder=context.data_folder
        )
    _show(draw_curves(traces, context.folder), context.folder, notes=notes, markdown=markdown)


@experiment.command()
def embed(
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = 3,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
) -> None:
    """Figure 2: t-SNE of the features of two methods, and how well they separate the classes
    (silhouette).

    Example: candor experiment embed --seeds 1
    """
    from training.experiments.figures import draw_embeddings, trace

    grid = grid_of(
        "embed", data=data, network=network, method=method, seeds=seeds, first_seed=first_seed
    )
    with _context(grid, "embed", out=out, jobs=jobs) as context:
        traces, notes = trace(
            grid, context.datasets, context.runner, data_folder=context.data_folder
        )
    tables = draw_embeddings(traces, context.datasets, context.folder)
    _show(tables, context.folder, notes=notes, markdown=markdown)


@experiment.command()
def toy(
    method: MethodOption = None,
    seeds: SeedsOption = 5,
    first_seed: FirstSeedOption = 0,
    out: OutOption = None,
    markdown: MarkdownOption = False,
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
        tables = run_toy(
            methods, range(first_seed, first_seed + (seeds or 1)), folder, progress=progress
        )
    _show(tables, folder, markdown=markdown)


@experiment.command()
def select(
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    first_seed: FirstSeedOption = 0,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Labeled sample from the place of use, a data set or test:N, that chooses and "
            "calibrates instead of validation."
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="auto: each method with every candidate that `candor train` would try on this "
            "data; fixed: with the options given here alone."
        ),
    ] = "auto",
    accuracy_loss: Annotated[
        float, typer.Option(help="Accuracy that a choice may lose on validation.")
    ] = 0.01,
    nll_share: Annotated[
        float, typer.Option(help="Share by which the NLL of a choice may be higher.")
    ] = 0.05,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
    json_out: JsonOption = False,
) -> None:
    """Choose method, strength and calibrator for your data by validation alone, and report how
    certain that is.

    Example: candor experiment select --data images --seeds 3
    """
    from candor.terminal.console import print_json
    from training.experiments.choice import Limits
    from training.experiments.reference import with_reference
    from training.experiments.select import recipe_grids
    from training.experiments.select import select as run_selection
    from training.experiments.table import write_csv

    if recipe not in ("auto", "fixed"):
        raise typer.BadParameter(f"got {recipe!r}; expected auto or fixed", param_hint="--recipe")
    grid = grid_of(
        "select", data=data, network=network, method=method, seeds=seeds, first_seed=first_seed
    )
    with _context(grid, "select", out=out, jobs=jobs) as context:
        datasets = context.datasets
        if reference is not None:
            datasets = {
                name: with_reference(each, reference, cache=cache_folder())
                for name, each in datasets.items()
            }
        grids = recipe_grids(grid, datasets, context.data_folder) if recipe == "auto" else (grid,)
        cells = [cell for each in grids for cell in each.cells(datasets, context.data_folder)]
        results, notes = context.runner.run(cells, datasets)
    found = run_selection(results, limits=Limits(accuracy_loss, nll_share))
    rows = [row for each in found for row in each.as_rows()]
    context.folder.mkdir(parents=True, exist_ok=True)
    write_csv(context.folder / "selection.csv", rows)
    if json_out:
        print_json(rows)
        return
    tables = [each.table() for each in found]
    _show(tables, context.folder, notes=notes, markdown=markdown)


@dataclass(frozen=True)
class _Context:
    """The data sets of a grid by title, the runner that computes its cells into `folder`, and the
    folder that holds weights.
    """

    datasets: "Mapping[str, Dataset]"
    runner: "ExperimentRunner"
    folder: Path
    data_folder: Path | None


@contextmanager
def _context(grid: "Grid", name: str, *, out: Path | None, jobs: int) -> Iterator[_Context]:
    """Read the grid's data sets and show progress bars; name the missing data sets on stderr
    afterwards.

    Raises DataNotFound if no data set of the grid is available.
    """
    from candor.terminal.console import stderr
    from candor.terminal.progress import bars
    from training.experiments.presets import open_data
    from training.experiments.runner import ExperimentRunner

    data_folder, folder = settings().data, _folder(out, name)
    with bars() as progress:
        opened = open_data(grid.data, folder=data_folder, cache=cache_folder(), progress=progress)
        runner = ExperimentRunner(folder, cache_folder() / "features", jobs, progress)
        yield _Context(opened.datasets, runner, folder, data_folder)
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


def _folder(out: Path | None, name: str) -> Path:
    return out or Path("experiments") / name


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; write numbers separated by commas, as in 1,5,10"
        ) from error
