"""`candor demo`."""

from pathlib import Path
from typing import Annotated

import typer

from candor.commands.options import cache_folder, settings


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Data set or data folder (default: CANDOR_DATA, download, digits).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for runs, models, ledger and pictures; made anew.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option(help="Seed of training and of the order of images.")] = 0,
    once: Annotated[bool, typer.Option("--once", help="Exit at the end instead of serving on.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure of the story to this file.")
    ] = None,
) -> None:
    """Tell the whole story on real images: train, export, serve, label, drift, recalibrate, switch over."""
    try:
        from candor.demo.story import tell
    except ModuleNotFoundError as error:
        raise typer.BadParameter(f"the demo trains, which needs the extra: pip install '.[train]' ({error})") from error

    tell(
        source=data,
        data_folder=settings().data,
        cache=cache_folder(),
        out=out,
        seed=seed,
        once=once,
        json_file=json_file,
    )
