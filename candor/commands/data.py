"""`candor data check`: what a data set is, before hours go into training on it."""

from functools import partial
from typing import Annotated, Any

import typer

from candor.commands.options import JsonOption, cache_folder

app = typer.Typer(help="Look at the images that a model is to be trained on.", no_args_is_help=True)

LayoutOption = Annotated[str | None, typer.Option(help="How the images lie on disk (default: recognized).")]
GroupOption = Annotated[
    str | None, typer.Option(help="Regular expression whose first group, in the file name, is the patient or slide.")
]
LeakageOption = Annotated[bool, typer.Option("--allow-leakage", help="Go on although splits share images or patients.")]
CorruptOption = Annotated[float, typer.Option(min=0, max=1, help="Share of images that may be missing or damaged.")]
WindowOption = Annotated[
    str | None, typer.Option(help="CENTER,WIDTH by which gray DICOM is shown (default: the layout's, else the file's).")
]
FirstFrameOption = Annotated[
    bool, typer.Option("--first-frame", help="Of DICOM files with several frames, take the first.")
]


def loading(
    *,
    layout: str | None,
    group_pattern: str | None,
    allow_leakage: bool,
    max_corrupt: float,
    window: str | None,
    first_frame: bool,
) -> dict[str, Any]:
    """The options above as arguments of `load_dataset`; a usage error for a window that is none."""
    return {
        "layout": layout,
        "group_pattern": group_pattern,
        "allow_leakage": allow_leakage,
        "max_corrupt": max_corrupt,
        "window": _window(window),
        "first_frame": first_frame,
    }


def _window(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"the window {text!r} is not of the form CENTER,WIDTH, such as 40,80") from error
    if width < 1:
        raise typer.BadParameter(f"the width of the window is {width:g}; expected 1 or more")
    return center, width


@app.command()
def check(
    path: Annotated[str, typer.Argument(help="Folder, CSV file, MedMNIST .npz or name.")],
    layout: LayoutOption = None,
    group_pattern: GroupOption = None,
    allow_leakage: LeakageOption = False,
    max_corrupt: CorruptOption = 0.01,
    window: WindowOption = None,
    first_frame: FirstFrameOption = False,
    seed: Annotated[int, typer.Option(help="Draws the splits that the data lacks, as `candor train` would.")] = 0,
    json_out: JsonOption = False,
) -> None:
    """Show layout, classes and splits, corrupt files and leakage; exit code 1 where training would be refused."""
    from candor.terminal.console import print_json, stderr, stdout
    from candor.terminal.dataset import data_tables
    from candor.terminal.progress import bars
    from training.datasets import describe, load_dataset
    from training.datasets.errors import CorruptDataset, LeakingSplits

    options = loading(
        layout=layout,
        group_pattern=group_pattern,
        allow_leakage=allow_leakage,
        max_corrupt=max_corrupt,
        window=window,
        first_frame=first_frame,
    )
    with bars() as progress:
        load = partial(load_dataset, path, cache=cache_folder(), seed=seed, progress=progress)
        refusal = None
        try:
            dataset = load(**options)
        except (CorruptDataset, LeakingSplits) as error:  # show the rest of it as well
            refusal = str(error)
            dataset = load(**options | {"max_corrupt": 1.0, "allow_leakage": True})
    found = describe(dataset) | {"refused": refusal}
    if json_out:
        print_json(found)
    else:
        for part in data_tables(found):
            stdout.print(part)
    if refusal is not None:
        stderr.print(f"candor: refused: {refusal}")
        raise typer.Exit(1)
