"""`candor experiment`: the paper's tables and figures, and the choice of a method, each resumable cell by cell."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.options import JsonOption, cache_folder, settings

experiment = typer.Typer(
    name="experiment",
    help="Reproduce the paper's tables and figures, and choose a method for your own data.",
    no_args_is_help=True,
)

OutOption = Annotated[Path | None, typer.Option(help="Folder of cells and tables [default: experiments/NAME].")]
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
    """Compare methods and calibrators: Tables 1, 2 and 3, mean and interval over seeds, beside the paper's figures."""
    from terminal import bars, print_json, stderr
    from training.experiments.compare import compare as run_comparison
    from training.experiments.presets import open_data, require_data
    from training.experiments.workshop import Workshop

    grid = _grid(preset, data=data, network=network, method=method, seeds=seeds)
    folder = out or Path("experiments") / preset
    known = settings()
    with bars() as progress:
        opened = open_data(grid.data, folder=known.data, cache=cache_folder(), progress=progress)
        require_data(opened)
        workshop = Workshop(folder, cache_folder() / "features", jobs, progress)
        found = run_comparison(grid, opened.datasets, workshop, data_folder=known.data)
    for sentence in (*opened.absent, *found.notes):
        stderr.print(sentence, markup=False)
    found.write(folder)
    if json_out:
        print_json(found.as_rows())
        return
    _show(found.tables(), markdown=markdown)
    stderr.print(f"Tables and figures: {folder}")


def _grid(
    preset: str, *, data: list[str] | None, network: list[str] | None, method: list[str] | None, seeds: int | None
) -> Any:
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
    return replace(PRESETS[preset](), **{name: part for name, part in parts.items() if part})


def _show(tables: list[Any], *, markdown: bool) -> None:
    from terminal import stdout, table

    for each in tables:
        if markdown:
            print(each.markdown())  # noqa: T201
            continue
        stdout.print(table(each.title, each.columns, each.rows))
        for note in each.notes:
            stdout.print(note, style="dim", markup=False)
        stdout.print()
