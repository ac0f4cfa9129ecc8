"""`candor demo`: the whole cycle on real images."""

from pathlib import Path
from typing import Annotated

import typer

from candor.commands.options import cache_folder, settings


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data set or folder with one (default: CANDOR_DATA, else a download, else digits)."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for runs, models, ledger and pictures; replaces those of an earlier demo."
        ),
    ] = Path("demo-output"),
    seed: Annotated[int, typer.Option(help="Seed of the training and of the order of images.")] = 0,
    once: Annotated[
        bool, typer.Option("--once", help="Stop the server at the end instead of leaving it up.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure to this file.")
    ] = None,
) -> None:
    """Run the whole cycle on real images: train, export, serve, label, drift, recalibrate, promote.

    Example: candor demo --once
    """
    from candor.demo.run import run_demo

    run_demo(
        source=data,
        data_folder=settings().data,
        cache=cache_folder(),
        out=out,
        seed=seed,
        once=once,
        json_file=json_file,
    )
