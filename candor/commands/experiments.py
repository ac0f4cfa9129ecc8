"""`candor experiment`: the paper's tables and figures, and the choice of a method, each resumable cell by cell."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from candor.commands.options import JsonOption, cache_folder, settings

experiment = typer.Typer(
    name="experiment",
    help="Reproduce the paper's tables and figures, and choose a method for your own data.",
    no_args_is_help=True,
)

OutOption = Annotated[Path | None, typer.Option(help="Folder of cells and tables (default: experiments/NAME).")]
JobsOption = Annotated[int, typer.Option(min=1, help="Processes of one thread each.")]
DataOption = Annotated[
    list[str] | None, typer.Option(help="Data set, 'PATH [key=value ...]'; may be repeated. In place of the preset's.")
]
NetworkOption = Annotated[
    list[str] | None, typer.Option(help="Network, 'NAME [key=value ...]'; may be repeated. In place of the preset's.")
]
MethodOption = Annotated[
    list[str] | None, typer.Option(help="Method, 'LOSS [xHEADS] [ema] [key=value ...]'; may be repeated.")
]
SeedsOption = Annotated[int | None, typer.Option(min=1, help="How many seeds, from 0.")]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print Markdown for a page.")]
CORES = os.cpu_count() or 1


@experiment.command()
def compare(
    preset: Annotated[str, typer.Option(help="Grid: smoke, results or paper.")] = "results",
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
    json_out: JsonOption = False,
) -> None:
    """Tables 1, 2 and 3: methods and calibrators by ECE, accuracy and MCE, over seeds, beside the paper's figures."""
    from candor.terminal.console import print_json
    from training.experiments.compare import compare as run_comparison

    context = _context(preset, data=data, network=network, method=method, seeds=seeds, out=out, jobs=jobs)
    with context.open():
        found = run_comparison(context.grid, context.datasets, context.runner, data_folder=context.data_folder)
    found.write(context.folder)
    if json_out:
        print_json(found.as_rows())
        return
    context.show(found.tables(), found.notes, markdown=markdown)


@experiment.command()
def beta(
    loss: Annotated[str, typer.Option(help="The loss whose strength is varied.")] = "dca",
    betas: Annotated[str, typer.Option(help="Strengths, separated by commas.")] = "1,5,10,15,20,25",
    data: DataOption = None,
    network: NetworkOption = None,
    seeds: SeedsOption = 3,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
) -> None:
    """Figures 4 and 5: training by four strengths of the auxiliary loss, and ECE by strength."""
    from training.experiments.beta import beta_grid, draw_betas, draw_panels, panels_grid
    from training.experiments.compare import compare as run_comparison
    from training.experiments.curves import trace

    context = _context("beta", data=data, network=network, method=None, seeds=seeds, out=out, jobs=jobs)
    grid = beta_grid(context.grid, loss=loss, betas=_numbers(betas))
    with context.open():
        found = run_comparison(grid, context.datasets, context.runner, data_folder=context.data_folder)
        traces, _ = trace(panels_grid(grid), context.datasets, context.runner, data_folder=context.data_folder)
    found.write(context.folder)
    draw_panels(traces, context.folder)
    context.show(draw_betas(found, grid, context.folder), found.notes, markdown=markdown)


@experiment.command()
def curves(
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Long enough to overfit.")] = 40,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
) -> None:
    """Figure 1: how cross-entropy and DCA overfit, epoch by epoch, at a constant learning rate."""
    from training.experiments.curves import draw_curves, trace

    context = _context("curves", data=data, network=network, method=method, seeds=seeds, out=out, jobs=jobs)
    grid = context.with_changes(epochs=epochs, decay="none")
    with context.open():
        traces, notes = trace(grid, context.datasets, context.runner, data_folder=context.data_folder)
    context.show(draw_curves(traces, context.folder), notes, markdown=markdown)


@experiment.command()
def embed(
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = 3,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
) -> None:
    """Figure 2: t-SNE of the features of two methods, and how well they separate the classes (silhouette)."""
    from training.experiments.curves import draw_embeddings, trace

    context = _context("embed", data=data, network=network, method=method, seeds=seeds, out=out, jobs=jobs)
    with context.open():
        traces, notes = trace(context.grid, context.datasets, context.runner, data_folder=context.data_folder)
    context.show(draw_embeddings(traces, context.datasets, context.folder), notes, markdown=markdown)


@experiment.command()
def toy(
    method: MethodOption = None,
    seeds: SeedsOption = 5,
    out: OutOption = None,
    markdown: MarkdownOption = False,
) -> None:
    """Figure 3: one dimension with a known truth; what each method learns of it."""
    from candor.terminal.progress import bars
    from training.experiments.presets import every_method
    from training.experiments.toy import toy as run_toy
    from training.experiments.variant import parse_variant

    folder = out or Path("experiments") / "toy"
    methods = tuple(map(parse_variant, method or ())) or every_method()
    with bars() as progress:
        tables = run_toy(methods, range(seeds or 1), folder, progress=progress)
    _show(tables, folder, markdown=markdown)


@experiment.command()
def select(
    data: DataOption = None,
    network: NetworkOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Labelled sample from the place of use (a data set, or test:N) that chooses and calibrates."),
    ] = None,
    judge: Annotated[
        str, typer.Option(help="val, or perturbed: validation images as another place could have sent them.")
    ] = "val",
    accuracy_loss: Annotated[float, typer.Option(help="How much accuracy a choice may cost on validation.")] = 0.01,
    nll_share: Annotated[float, typer.Option(help="What share of its NLL it may cost.")] = 0.05,
    out: OutOption = None,
    jobs: JobsOption = CORES,
    markdown: MarkdownOption = False,
    json_out: JsonOption = False,
) -> None:
    """Choose method, strength and calibrator for your data by validation alone, and say how sure the choice is."""
    from candor.terminal.console import print_json
    from training.experiments.choice import Limits
    from training.experiments.reference import with_reference
    from training.experiments.select import select as run_selection
    from training.experiments.table import write_csv

    if judge not in ("val", "perturbed"):
        raise typer.BadParameter(f"{judge!r} is not an evaluation set; choose val or perturbed", param_hint="--judge")
    context = _context("select", data=data, network=network, method=method, seeds=seeds, out=out, jobs=jobs)
    with context.open():
        datasets = context.datasets
        if reference is not None:
            datasets = {name: with_reference(each, reference, cache=cache_folder()) for name, each in datasets.items()}
        grid = context.with_changes(perturbed=True) if judge == "perturbed" else context.grid
        outcomes, notes = context.runner.run(grid.cells(datasets, context.data_folder), datasets)
    found = run_selection(
        outcomes, limits=Limits(accuracy_loss, nll_share), evaluation_set="perturbed" if judge == "perturbed" else "val"
    )
    rows = [row for each in found for row in each.as_rows()]
    context.folder.mkdir(parents=True, exist_ok=True)
    write_csv(context.folder / "selection.csv", rows)
    if json_out:
        print_json(rows)
        return
    context.show([each.table() for each in found], notes, markdown=markdown)


@dataclass
class ExperimentContext:
    """What a command works with: its grid, and once it is open its data sets and runner."""

    grid: Any
    folder: Path
    jobs: int
    data_folder: Path | None
    datasets: Any = None
    runner: Any = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Read the data sets and work, with progress bars; what is not there is told."""
        from candor.terminal.console import stderr
        from candor.terminal.progress import bars
        from training.experiments.presets import open_data, require_data
        from training.experiments.runner import ExperimentRunner

        with bars() as progress:
            opened = open_data(self.grid.data, folder=self.data_folder, cache=cache_folder(), progress=progress)
            require_data(opened)
            self.datasets = opened.datasets
            self.runner = ExperimentRunner(self.folder, cache_folder() / "features", self.jobs, progress)
            yield
        for sentence in opened.absent:
            stderr.print(sentence)

    def with_changes(self, **changes: Any) -> Any:
        """The grid with `changes` for every method that does not say otherwise, whatever data and network say."""
        from dataclasses import replace

        return replace(
            self.grid, methods=tuple(replace(each, changes=changes | dict(each.changes)) for each in self.grid.methods)
        )

    def show(self, tables: list[Any], notes: Any, *, markdown: bool) -> None:
        """Tables on stdout and into tables.md; what was left out on stderr."""
        from candor.terminal.console import stderr

        for sentence in notes:
            stderr.print(sentence)
        _show(tables, self.folder, markdown=markdown)


def _context(
    preset: str,
    *,
    data: list[str] | None,
    network: list[str] | None,
    method: list[str] | None,
    seeds: int | None,
    out: Path | None,
    jobs: int,
) -> ExperimentContext:
    """The preset's grid with the parts that were named put in place of its own."""
    from dataclasses import replace

    from training.experiments.presets import PRESETS, data_variant, network_variant
    from training.experiments.variant import parse_variant

    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset {preset!r}; choose one of: {', '.join(PRESETS)}")
    parts: dict[str, Any] = {
        "data": tuple(map(data_variant, data or ())),
        "networks": tuple(map(network_variant, network or ())),
        "methods": tuple(map(parse_variant, method or ())),
        "seeds": tuple(range(seeds or 0)),
    }
    grid = replace(PRESETS[preset](), **{name: part for name, part in parts.items() if part})
    return ExperimentContext(grid, out or Path("experiments") / preset, jobs, settings().data)


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{error}; write numbers separated by commas, as in 1,5,10") from error


def _show(tables: list[Any], folder: Path, *, markdown: bool) -> None:
    from candor.terminal.console import stderr, stdout
    from candor.terminal.tables import table

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text("\n".join(each.markdown() for each in tables))
    for each in tables:
        if markdown:
            print(each.markdown())  # noqa: T201
            continue
        stdout.print(table(each.title, each.columns, each.rows))
        for note in each.notes:
            stdout.print(note, style="dim")
        stdout.print()
    stderr.print(f"Tables and pictures: {folder}")
