"""`candor data check`: inspect a data set before spending hours on training."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import JsonOption, cache_folder

if TYPE_CHECKING:  # torch takes seconds to import; --help must not wait for it
    from training.datasets.records import LoadArguments

app = typer.Typer(
    name="data", help="Inspect the images that a model will be trained on.", no_args_is_help=True
)

LayoutOption = Annotated[
    str | None, typer.Option(help="How the images are stored (default: detected).")
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        help="Regular expression on the file name; its first group identifies the patient or slide."
    ),
]
LeakageOption = Annotated[
    bool, typer.Option("--allow-leakage", help="Continue although splits share images or patients.")
]
CorruptOption = Annotated[
    float, typer.Option(min=0, max=1, help="Share of images that may be missing or damaged.")
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        help="CENTER,WIDTH of the window for gray DICOM (default: the layout's, else the file's)."
    ),
]
FirstFrameOption = Annotated[
    bool,
    typer.Option("--first-frame", help="Use the first frame of DICOM files that have several."),
]


def load_arguments(
    *,
    layout: str | None,
    group_pattern: str | None,
    allow_leakage: bool,
    max_corrupt: float,
    window: str | None,
    first_frame: bool,
) -> "LoadArguments":
    """The options above as arguments of `load_dataset`; a usage error for an invalid window."""
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
        raise typer.BadParameter(
            f"got the window {text!r}; expected CENTER,WIDTH, such as 40,80"
        ) from error
    if width < 1:
        raise typer.BadParameter(f"got a window width of {width:g}; expected 1 or more")
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
    seed: Annotated[
        int, typer.Option(help="Seed for the splits that the data lacks, as in `candor train`.")
    ] = 0,
    json_out: JsonOption = False,
) -> None:
    """Show layout, classes, splits, corrupt files, leakage, and what gives a class away.

    Exit code 1 if training would be refused.

    Example: candor data check images
    """
    from candor.terminal.console import print_json, stderr, stdout
    from candor.terminal.dataset import data_tables
    from candor.terminal.progress import bars
    from training.datasets import describe, load_dataset
    from training.datasets.errors import CorruptDataset, LeakingSplits

    options = load_arguments(
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
        except (CorruptDataset, LeakingSplits) as error:  # show the rest of the report as well
            refusal = str(error)
            options["max_corrupt"], options["allow_leakage"] = 1.0, True
            dataset = load(**options)
    found = describe(dataset) | {"refused": refusal}
    if json_out:
        print_json(found)
    else:
        for part in data_tables(found):
            stdout.print(part)
    if refusal is not None:
        stderr.print(f"candor: refused: {refusal}")
        raise typer.Exit(1)
